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
// The fields of Options may be set until the first open. The other methods
// are for SQLite, but for Close; all are safe for concurrent use.
type VFS struct {
	Options

	client ReplicaClient // serves the first name opened; nil if there is none

	mu        sync.Mutex              // duty: the registry
	closed    bool                    // guarded by mu
	bound     string                  // guarded by mu; the name that client serves, "" before the first
	databases map[string]*sharedDB    // guarded by mu, by key
	opening   context.CancelCauseFunc // ends opens under way; set by NewVFS
	openCtx   context.Context
	local     *osvfs.Set // files that are no replicas
}

// sharedDB is a database with the connections that use it.
type sharedDB struct {
	settings settings
	ready    chan struct{} // closed when db and err are set
	db       *database
	err      error
	conns    int // guarded by VFS.mu
}

var (
	_ sqlite3vfs.VFS       = (*VFS)(nil)
	_ sqlite3vfs.URIOpener = (*VFS)(nil)
)

// NewVFS returns a VFS. The client serves the database of the first file
// name that is opened; with a nil client, Options.NewClient or the URI
// parameter replica_url must give one. Of opts, the first that is not nil is used.
func NewVFS(client ReplicaClient, opts ...*Options) *VFS {
	v := &VFS{client: client, databases: make(map[string]*sharedDB), local: osvfs.NewSet()}
	v.openCtx, v.opening = context.WithCancelCause(context.Background())
	for _, o := range opts {
		if o != nil {
			v.Options = *o
			break
		}
	}
	return v
}

// Open is OpenURI without parameters.
func (v *VFS) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return v.OpenURI(name, nil, flags)
}

// OpenURI opens a database, or a temporary file of SQLite's.
//
// It never returns an error. After a failed open sqlite3vfs closes whichever file
// was opened first in the process. A file that fails at its first use,
// reading the database header, makes SQLite's open fail with the same code.
func (v *VFS) OpenURI(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (f sqlite3vfs.File, out sqlite3vfs.OpenFlag, _ error) {
	log := v.Options.withDefaults().Logger
	var err error
	func() {
		defer guard(log, "open", &err)
		f, out, err = v.open(name, params, flags)
	}()
	if err != nil {
		log.Error("open failed", "db", name, "error", err)
		return failedFile{}, flags, nil
	}
	return f, out, nil
}

func (v *VFS) open(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	const temporary = sqlite3vfs.OpenTempDB | sqlite3vfs.OpenTempJournal | sqlite3vfs.OpenTransientDB | sqlite3vfs.OpenSubJournal
	switch {
	case name == "" || flags&temporary != 0 && flags&sqlite3vfs.OpenMainDB == 0:
		return new(tempFile), flags, nil
	case flags&sqlite3vfs.OpenMainDB == 0:
		if !v.local.Has(name) && flags&sqlite3vfs.OpenSuperJournal != 0 {
			// It would have to be where all who recover the files look for it.
			return nil, 0, fmt.Errorf("open %s: a transaction over several local files is not possible with a replica as main database", name)
		}
		if !v.local.Has(name) {
			return nil, 0, fmt.Errorf("open %s: a read-only database has no journal", name)
		}
		return v.openLocal(name, params, flags)
	}
	opts, err := v.Options.withParams(params)
	if err != nil {
		return nil, 0, err
	}
	opts = opts.withDefaults()
	key, newClient := v.route(name, params)
	if newClient == nil {
		opts.Logger.Info("opened as a local file", "file", name, "replica", v.boundName())
		return v.openLocal(name, params, flags)
	}
	db, release, err := v.acquire(key, name, newClient, opts)
	if errors.Is(err, errNotReplica) {
		return v.openLocal(name, params, flags)
	}
	if err != nil {
		return nil, 0, err
	}
	c := &conn{db: db, log: db.log, release: release}
	if isSet(params["nolock"]) || isSet(params["immutable"]) {
		c.unlocked = true
		c.pinned = c.view()
	}
	flags &^= sqlite3vfs.OpenReadWrite | sqlite3vfs.OpenCreate
	return c, flags | sqlite3vfs.OpenReadOnly, nil
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
func (v *VFS) route(name string, params map[string]string) (key string, newClient func() (ReplicaClient, error)) {
	if url := params["replica_url"]; url != "" {
		return "url " + url, func() (ReplicaClient, error) { return NewReplicaClientFromURL(url) }
	}
	key = "name " + name
	if v.NewClient != nil {
		return key, func() (ReplicaClient, error) {
			client, err := v.NewClient(name)
			if err == nil && client == nil {
				err = errNotReplica
			}
			return client, err
		}
	}
	if v.client == nil {
		return key, func() (ReplicaClient, error) {
			return nil, errors.New("no replica client: give one to NewVFS, or set Options.NewClient or the parameter replica_url")
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bound == "" {
		v.bound = name
	}
	if v.bound != name {
		return key, nil
	}
	return key, func() (ReplicaClient, error) { return v.client, nil }
}

func (v *VFS) boundName() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.bound
}

// acquire returns the database of a key, opened by the first that asks for it.
func (v *VFS) acquire(key, name string, newClient func() (ReplicaClient, error), opts Options) (*database, func(), error) {
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return nil, nil, ErrClosed
	}
	s, known := v.databases[key]
	if !known {
		s = &sharedDB{settings: opts.settings(), ready: make(chan struct{})}
		v.databases[key] = s
	}
	s.conns++
	v.mu.Unlock()

	if known {
		<-s.ready // bounded by the first one's OpenTimeout
	} else {
		v.openShared(key, s, name, newClient, opts)
	}
	err := s.err
	if err == nil && s.settings != opts.settings() {
		err = fmt.Errorf("open %s: it is open with other options", name)
	}
	if err != nil {
		v.release(key, s)
		return nil, nil, err
	}
	return s.db, func() { v.release(key, s) }, nil
}

// openShared opens a database for all that wait for it. One that failed is
// forgotten at once: who comes later tries again.
func (v *VFS) openShared(key string, s *sharedDB, name string, newClient func() (ReplicaClient, error), opts Options) {
	defer close(s.ready)
	s.db, s.err = v.openNew(name, newClient, opts)
	v.mu.Lock()
	closed := v.closed
	if s.err != nil && v.databases[key] == s {
		delete(v.databases, key)
	}
	v.mu.Unlock()
	if closed && s.err == nil {
		// Close did not wait for it.
		s.err = errors.Join(ErrClosed, s.db.closeWithin(opts.CloseTimeout))
		s.db = nil
	}
}

func (v *VFS) openNew(name string, newClient func() (ReplicaClient, error), opts Options) (db *database, err error) {
	defer guard(opts.Logger, "open", &err)
	client, err := newClient()
	if err != nil {
		return nil, err
	}
	ctx, cancel := v.openCtx, context.CancelFunc(func() {})
	if opts.OpenTimeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, opts.OpenTimeout)
	}
	defer cancel()
	return openDatabase(ctx, name, client, opts)
}

// release drops a connection, and the database with its last.
func (v *VFS) release(key string, s *sharedDB) {
	v.mu.Lock()
	s.conns--
	last := s.conns == 0 && v.databases[key] == s
	if last {
		delete(v.databases, key)
	}
	v.mu.Unlock()
	if !last || s.db == nil {
		return
	}
	if err := s.db.closeWithin(s.db.opts.CloseTimeout); err != nil {
		s.db.log.Error("close failed", "error", err)
	}
}

// Close ends everything that the VFS does in the background, and every
// request under way, and waits for that as long as ctx allows. Connections
// that are still open get errors from then on. Closing again is fine.
func (v *VFS) Close(ctx context.Context) error {
	v.mu.Lock()
	v.closed = true
	dbs := v.databases
	v.databases = make(map[string]*sharedDB)
	v.mu.Unlock()
	v.opening(ErrClosed)
	var errs []error
	for _, s := range dbs {
		select {
		case <-s.ready:
		default:
			// Whoever opens it closes it again, should ctx end before.
			select {
			case <-s.ready:
			case <-ctx.Done():
				errs = append(errs, ctx.Err())
				continue
			}
		}
		if s.db != nil {
			errs = append(errs, s.db.close(ctx))
		}
	}
	return errors.Join(errs...)
}

func (v *VFS) openLocal(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return v.local.Open(name, params, flags)
}

// Delete removes a file of a local database. Others are there only as long
// as they are open.
func (v *VFS) Delete(name string, dirSync bool) (err error) {
	defer guard(v.Options.withDefaults().Logger, "delete", &err)
	if v.local.Has(name) {
		return v.local.Delete(name, dirSync)
	}
	return nil
}

// Access reports whether a file of a local database exists. No replica has a
// journal that SQLite could find.
func (v *VFS) Access(name string, flags sqlite3vfs.AccessFlag) (ok bool, err error) {
	defer guard(v.Options.withDefaults().Logger, "access", &err)
	if v.local.Has(name) {
		return v.local.Access(name, flags)
	}
	return false, nil
}

// FullPathname makes different spellings of a name one.
func (v *VFS) FullPathname(name string) string {
	if name == "" {
		return name
	}
	return path.Clean(name)
}

// failedFile stands for a file that could not be opened; see OpenURI.
type failedFile struct{}

var _ sqlite3vfs.File = failedFile{}

func (failedFile) ReadAt([]byte, int64) (int, error)  { return 0, sqlite3vfs.CantOpenError }
func (failedFile) WriteAt([]byte, int64) (int, error) { return 0, sqlite3vfs.CantOpenError }
func (failedFile) Truncate(int64) error               { return sqlite3vfs.CantOpenError }
func (failedFile) Sync(sqlite3vfs.SyncType) error     { return sqlite3vfs.CantOpenError }
func (failedFile) FileSize() (int64, error)           { return 0, sqlite3vfs.CantOpenError }
func (failedFile) Lock(sqlite3vfs.LockType) error     { return sqlite3vfs.CantOpenError }
func (failedFile) Unlock(sqlite3vfs.LockType) error   { return nil }
func (failedFile) CheckReservedLock() (bool, error)   { return false, sqlite3vfs.CantOpenError }
func (failedFile) Close() error                       { return nil }
func (failedFile) SectorSize() int64                  { return 0 }
func (failedFile) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return 0
}
