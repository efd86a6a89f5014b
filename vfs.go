package litestream

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/ltxvfs/litestream/internal/osvfs"
	"github.com/psanford/sqlite3vfs"
)

// VFS serves databases from replicas to SQLite, which reaches it by the name
// it is registered under:
//
//	sqlite3vfs.RegisterVFS("litestream", litestream.NewVFS(client))
//
// One VFS serves many databases. They are told apart by the URI parameter
// replica_url where given, else by file name. All connections to one share
// its index, cache and poller.
//
// The fields of Options may be set until the first open; later changes mean
// nothing. The zero VFS is one without a client. Close and Stats are for
// programs, the other methods for SQLite; all are safe for concurrent use.
type VFS struct {
	Options

	client ReplicaClient // serves the first name opened; nil if there is none

	start    sync.Once               // sets what follows, at the first use
	opts     Options                 // as they were then
	openCtx  context.Context         // of opens
	opening  context.CancelCauseFunc // ends opens under way
	local    *osvfs.Set              // files that are no replicas
	journals journals                // of databases that are written to
	limit    *limiter                // of requests
	resolved resolvedNames           // by SQLite, before it opens them

	mu        sync.Mutex           // duty: the registry
	closed    bool                 // guarded by mu
	bound     string               // guarded by mu; the name that client serves, "" before the first
	databases map[string]*sharedDB // guarded by mu, by key
	failed    []error              // guarded by mu; of closes that Close is to tell of
}

var (
	_ sqlite3vfs.VFS       = (*VFS)(nil)
	_ sqlite3vfs.URIOpener = (*VFS)(nil)
)

// NewVFS returns a VFS. The client serves the database of the first file
// name that is opened; with a nil client, Options.NewClient or the URI
// parameter replica_url must give one. Of opts, the first that is not nil is used.
func NewVFS(client ReplicaClient, opts ...*Options) *VFS {
	v := &VFS{client: client}
	for _, o := range opts {
		if o != nil {
			v.Options = *o
			break
		}
	}
	return v
}

// options returns the options as they were at the first use.
func (v *VFS) options() Options {
	v.start.Do(func() {
		v.opts = v.Options
		v.openCtx, v.opening = context.WithCancelCause(context.Background())
		v.local = osvfs.NewSet()
		v.limit = newLimiter(v.opts.withDefaults().MaxConcurrentRequests)
		v.databases = make(map[string]*sharedDB)
	})
	return v.opts
}

// Open is OpenURI without parameters.
func (v *VFS) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return v.OpenURI(name, nil, flags)
}

// OpenURI opens a database, or a temporary file of SQLite's.
//
// It never returns an error. After a failed open sqlite3vfs closes whichever file
// was opened first in the process. A file that fails at its first use,
// reading the database header, makes SQLite's open fail with the same code. It has
// a method OpenError() error.
func (v *VFS) OpenURI(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (f sqlite3vfs.File, out sqlite3vfs.OpenFlag, _ error) {
	log := v.options().withDefaults().Logger
	var err error
	func() {
		defer guard(log, "open", &err)
		f, out, err = v.open(name, params, flags)
	}()
	if err != nil {
		log.Error("open failed", "db", name, "error", err)
		return failedFile{err}, flags, nil
	}
	return f, out, nil
}

func (v *VFS) open(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	const temporary = sqlite3vfs.OpenTempDB | sqlite3vfs.OpenTempJournal | sqlite3vfs.OpenTransientDB | sqlite3vfs.OpenSubJournal
	switch {
	case name == "" || flags&temporary != 0 && flags&sqlite3vfs.OpenMainDB == 0:
		return new(tempFile), flags, nil
	case flags&sqlite3vfs.OpenMainDB == 0 && v.local.Has(name):
		return v.openLocal(name, params, flags)
	case flags&sqlite3vfs.OpenSuperJournal != 0:
		v.journals.setSuper(name, true)
		return &superJournal{check: v.checkJournals}, flags, nil
	case flags&sqlite3vfs.OpenMainDB == 0:
		return v.openJournal(name, params, flags)
	}
	shared := v.resolved.open(name, params, flags)
	opts := v.options()
	if err := opts.allowParams(params); err != nil {
		return nil, 0, err
	}
	if err := opts.validate(); err != nil {
		return nil, 0, err
	}
	opts, err := opts.withParams(params)
	if err != nil {
		return nil, 0, err
	}
	opts = opts.withDefaults()
	opts.replicaURL = params["replica_url"]
	key, newClient := v.route(name, params)
	if newClient == nil {
		if opts.LocalFiles == AllLocalFiles {
			opts.Logger.Info("opened as a local file", "file", name, "replica", v.boundName())
		}
		return v.openLocal(name, params, flags)
	}
	if mayBeLocal := opts.NewClient != nil && params[replicaURL] == ""; shared && !mayBeLocal {
		return nil, 0, fmt.Errorf("open %s: %w", name, ErrSharedCache)
	}
	db, release, err := v.acquire(key, name, newClient, opts)
	if errors.Is(err, errNotReplica) {
		return v.openLocal(name, params, flags)
	}
	if err != nil {
		return nil, 0, err
	}
	if shared {
		release()
		return nil, 0, fmt.Errorf("open %s: %w", name, ErrSharedCache)
	}
	v.journals.join(name)
	leave := func() {
		v.journals.leave(name)
		release()
	}
	c := &conn{db: db, log: db.log, release: leave, predictor: newPredictor(db.prefetcher)}
	if isSet(params["nolock"]) || isSet(params["immutable"]) {
		c.unlocked = true
	}
	// SQLite takes BEGIN IMMEDIATE for BEGIN where a file is read-only, so that
	// those who only read may say so, too. Who says mode=rw may want to write later.
	if c.unlocked || flags&sqlite3vfs.OpenCreate != 0 && !db.writer.mayWrite() {
		flags = flags&^(sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate) | sqlite3vfs.OpenReadOnly
	}
	c.readOnly = flags&sqlite3vfs.OpenReadOnly != 0
	db.join(c)
	if c.unlocked {
		c.pinNewest()
	}
	return c, flags, nil
}

// checkJournals refuses a super-journal that names the journal of a local file, whichever
// VFS that is of: it would have to be where all who recover the file look for it.
func (v *VFS) checkJournals(names []byte) error {
	for name := range strings.SplitSeq(string(names), "\x00") {
		if name != "" && !v.journals.isOurs(name) {
			err := fmt.Errorf("a transaction over the local file of %s and another database is not possible with a replica as main database", name)
			v.options().withDefaults().Logger.Error("write of super-journal failed", "error", err)
			return err
		}
	}
	return nil
}

// openJournal opens the rollback journal of a connection that writes.
func (v *VFS) openJournal(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	if flags&sqlite3vfs.OpenWAL != 0 {
		return nil, 0, fmt.Errorf("open %s: there is no WAL mode", name)
	}
	main := strings.TrimSuffix(name, journalSuffix)
	v.mu.Lock()
	s := v.databases[keyOfName(main, params)]
	v.mu.Unlock()
	if s != nil {
		<-s.ready // as it is to whoever writes
		if c, ok := s.db.writer.holder().(*conn); ok {
			c.journal = &journalFile{tempFile: tempFile{mem: c.journalMemory}, c: c, name: name, all: &v.journals}
			c.journalName, c.journalState = name, journalOpen
			return c.journal, flags, nil
		}
	}
	return nil, 0, fmt.Errorf("open %s: nobody writes to the database", name)
}

// keyOfName returns the key of the database that a name means.
func keyOfName(name string, params map[string]string) string {
	if url := params[replicaURL]; url != "" {
		return "url " + url
	}
	return "name " + name
}

// isSet reads a boolean URI parameter as SQLite does: by a number at its
// begin, of which the low byte counts, or a word.
func isSet(s string) bool {
	if digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]; digits != "" {
		n, err := strconv.ParseInt(digits, 10, 32)
		return err == nil && n&0xff != 0
	}
	switch strings.ToLower(s) {
	case "on", "yes", "true":
		return true
	}
	return false
}

// errNotReplica says that a name is a plain local file's.
var errNotReplica = errors.New("not a replica")

// route tells which database a name means, and how to get a client for it;
// nil for a local file.
func (v *VFS) route(name string, params map[string]string) (key string, newClient newClientFunc) {
	key = keyOfName(name, params)
	if url := params[replicaURL]; url != "" {
		return key, func() (ReplicaClient, bool, error) {
			client, err := NewReplicaClientFromURL(url)
			return client, true, err
		}
	}
	if newClient := v.options().NewClient; newClient != nil {
		return key, func() (ReplicaClient, bool, error) {
			client, err := newClient(name)
			if err == nil && client == nil {
				err = errNotReplica
			}
			return client, false, err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.client == nil {
		if len(v.databases) > 0 {
			return key, nil // beside databases that came by URL
		}
		return key, func() (ReplicaClient, bool, error) {
			return nil, false, errors.New("no replica client: give one to NewVFS, or set Options.NewClient or the parameter replica_url")
		}
	}
	if v.bound == "" {
		v.bound = name
	}
	if v.bound != name {
		return key, nil
	}
	return key, func() (ReplicaClient, bool, error) { return v.client, false, nil }
}

func (v *VFS) boundName() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bound
}

// openLocal opens a plain local file, or a companion of one that is open.
func (v *VFS) openLocal(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	if v.options().LocalFiles == NoLocalFiles {
		return nil, 0, fmt.Errorf("open %s: it has no replica, and local files are not allowed", name)
	}
	return v.local.Open(name, params, flags)
}

// Delete removes a file of a local database. Others are there only as long
// as they are open.
func (v *VFS) Delete(name string, dirSync bool) (err error) {
	defer v.guard("delete", &err)
	if v.local.Has(name) {
		return v.local.Delete(name, dirSync)
	}
	v.journals.setSuper(name, false)
	if c := v.journals.deleted(name); c != nil {
		return c.fail("commit", c.journalIsFinal())
	}
	return nil
}

// Access reports whether a file of a local database exists. No replica has a
// journal that SQLite could find.
func (v *VFS) Access(name string, flags sqlite3vfs.AccessFlag) (ok bool, err error) {
	defer v.guard("access", &err)
	if v.local.Has(name) {
		return v.local.Access(name, flags)
	}
	return v.journals.hasSuper(name), nil
}

// guard is guard with the VFS's log.
func (v *VFS) guard(op string, err *error) {
	if r := recover(); r != nil {
		*err = panicked(v.options().withDefaults().Logger, op, r)
	}
}

// FullPathname makes different spellings of a name one.
func (v *VFS) FullPathname(name string) string {
	name = cleanName(name)
	v.resolved.resolve(name)
	return name
}

func cleanName(name string) string {
	if name == "" {
		return name
	}
	return path.Clean(name)
}
