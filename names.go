package litestream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/outcome"
)

// names is the registry of a VFS: the name that the client of the VFS serves, and
// the open databases. Its zero value is empty. It is safe for concurrent use. No
// other lock is taken while its own is held.
type names struct {
	opens outcome.Record // opens of databases

	mu struct {
		sync.Mutex
		closed    bool                 // the VFS is closed
		bound     string               // name that the client of the VFS serves; "" before the first open
		databases map[string]*sharedDB // open databases, by key
		ids       map[string]*database // those whose open has ended, by Stats.ID
		failed    []error              // errors of closes, which VFS.Close returns; at most maxFailed
		unkept    int                  // number of closes that failed after these
	}
}

// maxFailed limits the errors of closes that are kept. A program may open and close a
// database for each of its tasks while every close fails.
const maxFailed = 100

// keyOfName returns the key of the database that a name means. Names with the
// same replica_url mean the same database.
func keyOfName(name string, params map[string]string) string {
	if url := params[replicaURL]; url != "" {
		return "url " + url
	}
	return "name " + name
}

// shownName returns a name for texts. A name that is a replica URL is shown without
// what may be secret.
func shownName(name string) string {
	if strings.Contains(name, "://") {
		return shownURL(name)
	}
	return name
}

// bind reports whether the client of the VFS serves a name. It serves the first
// name that bind is called with.
func (n *names) bind(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.bound == "" {
		n.mu.bound = name
	}
	return n.mu.bound == name
}

// shown returns the names of the replicas for a text: the name that the client of
// the VFS serves, and those that are open, in ascending order and at most five.
func (n *names) shown() (names []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.bound != "" {
		names = append(names, shownName(n.mu.bound))
	}
	for _, s := range n.mu.databases {
		if s.name != "" && s.name != n.mu.bound {
			names = append(names, shownName(s.name))
		}
	}
	slices.Sort(names)
	return names[:min(len(names), 5)]
}

// isEmpty reports whether no database is open.
func (n *names) isEmpty() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.mu.databases) == 0
}

// isClosed reports whether the VFS is closed.
func (n *names) isClosed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.closed
}

// joinKind says how a connection joined a database.
type joinKind int

const (
	joinFirst    joinKind = iota // the caller opens the database, and calls opened
	joinOther                    // another connection opens it or has opened it
	joinClosing                  // the database is being closed; the caller waits and joins again
	joinOutdated                 // the database had no connections, and other options; the caller closes it and joins again
)

// join adds a connection to the database of a key. The name is that of the file.
func (n *names) join(key, name string, opts Options) (*sharedDB, joinKind, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.closed {
		return nil, 0, ErrClosed
	}
	s, known := n.mu.databases[key]
	switch {
	case known && s.isClosing:
		return s, joinClosing, nil
	case known && s.conns == 0 && opts.checkSame(s.opts) != nil:
		s.isClosing = true
		return s, joinOutdated, nil
	case known:
		s.conns++
		s.until = time.Time{}
		return s, joinOther, nil
	}
	closing, hurry := context.WithCancelCause(context.Background())
	s = &sharedDB{closing: closing, hurry: hurry, name: name, opts: opts, conns: 1, opening: newOpening(name, opts.Logger), ready: make(chan struct{}), closed: make(chan struct{})}
	if n.mu.databases == nil {
		n.mu.databases = make(map[string]*sharedDB)
	}
	n.mu.databases[key] = s
	return s, joinFirst, nil
}

// opened passes the result of an open to the connections that wait for the
// database. It removes a database that failed to open, so that the next open tries
// again. If the VFS was closed meanwhile, opened returns false and changes nothing,
// and the caller closes the database.
func (n *names) opened(key string, s *sharedDB, db *database, err error) bool {
	if !errors.Is(err, ErrLocalFile) { // a local file is no database of this VFS
		n.opens.Note(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil && n.mu.databases[key] == s {
		delete(n.mu.databases, key)
	}
	if n.mu.closed && err == nil {
		return false
	}
	s.db, s.err = db, err
	if err == nil {
		n.identify(db)
	}
	close(s.ready) // under mu, so that either closeAll finds it ready or closed is seen here
	return true
}

// identify gives a database its ID. URLs can be equal but for what is not shown of
// them, and then a number tells the databases apart. The caller holds mu.
func (n *names) identify(db *database) {
	shown := db.shownName()
	db.id = shown
	for i := 2; n.mu.ids[db.id] != nil; i++ {
		db.id = fmt.Sprintf("%s (%d)", shown, i)
	}
	if n.mu.ids == nil {
		n.mu.ids = make(map[string]*database)
	}
	n.mu.ids[db.id] = db
}

// stopWaiting notes that a connection does not wait for an open any more. It leaves
// the database when that is open.
func (n *names) stopWaiting(s *sharedDB) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.gone++; s.gone == s.conns {
		s.opening.abandon(errAbandoned)
	}
}

// leaveKind says what becomes of a database that a connection has left.
type leaveKind int

const (
	leaveOthers leaveKind = iota // other connections use it, or the VFS closes it
	leaveLast                    // the caller closes the database and calls forget; opens wait until then
	leaveIdle                    // it stays open for some time, and expire is called at its end
)

// leave removes a connection from a database. If it was the last one, the database
// stays open for the time keep, and expired is called at the end of it. Expired does
// the same each time. If keep is not positive, the database is closed at once.
func (n *names) leave(key string, s *sharedDB, keep time.Duration, expired func()) leaveKind {
	n.mu.Lock()
	defer n.mu.Unlock()
	s.conns--
	switch {
	case s.conns > 0 || n.mu.databases[key] != s || s.isClosing:
		return leaveOthers
	case keep > 0:
		s.until = time.Now().Add(keep)
		if s.timer == nil {
			s.timer = time.AfterFunc(keep, expired)
		} else {
			s.timer.Reset(keep)
		}
		return leaveIdle
	default:
		s.isClosing = true
		return leaveLast
	}
}

// expire reports whether the time of a database without connections has come. If
// so, the caller closes it and calls forget.
func (n *names) expire(key string, s *sharedDB) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if s.conns > 0 || s.isClosing || n.mu.databases[key] != s || s.until.IsZero() || time.Now().Before(s.until) {
		return false
	}
	s.isClosing = true
	return true
}

// forget removes a database that was closed. The error of the close is kept for
// VFS.Close.
func (n *names) forget(key string, s *sharedDB, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil:
	case len(n.mu.failed) < maxFailed:
		n.mu.failed = append(n.mu.failed, err)
	default:
		n.mu.unkept++ // it is in the log
	}
	if n.mu.databases[key] == s {
		delete(n.mu.databases, key)
		if s.db != nil {
			delete(n.mu.ids, s.db.id)
		}
	}
}

// withID returns the open database with an ID, and nil if there is none.
func (n *names) withID(id string) *database {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.ids[id]
}

// open returns the open databases in no particular order, without those that are
// being opened.
func (n *names) open() (dbs []*database) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.mu.databases {
		select {
		case <-s.ready:
			if s.db != nil {
				dbs = append(dbs, s.db)
			}
		default:
		}
	}
	return dbs
}

// joinOpen adds a connection to a database that is open, and returns its key. It
// returns nil if the database is not open any more. The connection does not make a
// database without others stay open for longer.
func (n *names) joinOpen(db *database) (key string, s *sharedDB) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key, s := range n.mu.databases {
		select {
		case <-s.ready:
		default:
			continue
		}
		if s.db == db && !s.isClosing {
			s.conns++
			return key, s
		}
	}
	return "", nil
}

// untilClose returns how long a database was to stay open when a connection of
// joinOpen came, and whether no other connection used it then or since.
func (n *names) untilClose(s *sharedDB) (left time.Duration, idle bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Until(s.until), !s.until.IsZero()
}

// closeAll removes all databases and refuses new ones. It calls fn for each, with
// isClosing set if another goroutine is closing the database already.
func (n *names) closeAll(fn func(s *sharedDB, isClosing bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.closed = true
	for _, s := range n.mu.databases {
		fn(s, s.isClosing)
		s.isClosing = true
		if s.timer != nil {
			s.timer.Stop() // it would keep the closed database in memory
		}
	}
	n.mu.databases, n.mu.ids = nil, nil
}

// takeFailed returns and removes the errors of closes.
func (n *names) takeFailed() []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	failed := n.mu.failed
	if n.mu.unkept > 0 {
		failed = append(failed, fmt.Errorf("more closes have failed, see the log: %d", n.mu.unkept))
	}
	n.mu.failed, n.mu.unkept = nil, 0
	return failed
}
