package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/psanford/sqlite3vfs"
)

// conn is one SQLite connection's main database file. SQLite serialises all
// calls of one connection, so it has no lock; only lastErr can be read from
// elsewhere.
type conn struct {
	db      *database
	log     *slog.Logger
	release func()

	level  sqlite3vfs.LockType
	pinned *view // what all reads see while level >= LockShared
	travel *view // pinned instead of the current view; nil: follow it

	// unlocked is set where SQLite was told to take no locks: the first view
	// is the only one then.
	unlocked bool

	predictor predictor

	lastErr atomic.Pointer[connError]
}

// connError is an error that SQLite got as a mere code.
type connError struct {
	Time time.Time `json:"time"`
	Op   string    `json:"op"`
	Text string    `json:"text"`

	err error
}

var (
	_ sqlite3vfs.File           = (*conn)(nil)
	_ sqlite3vfs.FileController = (*conn)(nil)
)

// guard turns a panic into an I/O error: none may cross into C.
func guard(log *slog.Logger, op string, err *error) {
	if r := recover(); r != nil {
		*err = panicked(log, op, r)
	}
}

func panicked(log *slog.Logger, op string, r any) error {
	log.Error("panic", "op", op, "panic", r, "stack", string(debug.Stack()))
	return sqlite3vfs.IOError
}

// fail notes an error and makes it a code for SQLite.
func (c *conn) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	c.lastErr.Store(&connError{Time: time.Now().UTC(), Op: op, Text: err.Error(), err: err})
	c.log.Error(op+" failed", "error", err)
	return errorCode(err)
}

// errorCode is the only place where errors become SQLite's codes. It returns
// the exported values of sqlite3vfs as they are, or they would lose theirs.
func errorCode(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrReadOnly):
		return sqlite3vfs.ReadOnlyError
	case errors.Is(err, ErrCorrupt):
		return sqlite3vfs.CorruptError
	case errors.Is(err, ErrInTransaction), errors.Is(err, ErrTxNotAvailable), errors.Is(err, errInvalidValue):
		return sqlite3vfs.GenericError
	default:
		return sqlite3vfs.IOErrorRead
	}
}

// view is what the connection sees now.
func (c *conn) view() *view {
	switch {
	case c.pinned != nil:
		return c.pinned
	case c.travel != nil:
		return c.travel
	default:
		return c.db.current.Load()
	}
}

func (c *conn) ReadAt(p []byte, off int64) (n int, err error) {
	defer guard(c.log, "read", &err)
	if off < 0 {
		return 0, c.fail("read", fmt.Errorf("negative offset %d", off))
	}
	v := c.view()
	if off+int64(len(p)) <= sqliteHeaderSize {
		// Within every transaction's begin: the change counter.
		if hdr := v.state.header.Load(); hdr != nil {
			return copy(p, hdr[off:]), nil
		}
	}
	if off >= v.fileSize() {
		return 0, io.EOF
	}
	for n < len(p) && off < v.fileSize() {
		m, err := c.readPage(v, p[n:], off)
		if err != nil {
			return n, c.fail("read", err)
		}
		n += m
		off += int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readPage fills p from the page that holds offset off, to its end at most.
func (c *conn) readPage(v *view, p []byte, off int64) (int, error) {
	pageSize := int64(v.pageSize)
	pgno, in := uint32(off/pageSize)+1, off%pageSize
	whole := in == 0 && int64(len(p)) >= pageSize
	if whole && c.db.reader.readLocal(v, pgno, p[:pageSize]) {
		return c.servedLocally(v, pgno, p[:pageSize])
	}
	page, cached, ok := c.db.peek(v, pgno)
	switch {
	case ok && page != nil && whole:
		c.predictor.hit(v, pgno, page, cached)
	case !ok:
		if whole {
			c.predictor.miss(v, pgno)
		}
		ctx, cancel := c.db.withTimeout(c.db.opts.ReadTimeout)
		defer cancel()
		var err error
		if page, err = c.db.page(ctx, v, pgno); err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return 0, err
		}
		if whole && page != nil {
			c.predictor.landed(v, pgno, page)
		}
	}
	if page == nil {
		n := min(int64(len(p)), pageSize-in)
		clear(p[:n])
		return int(n), nil
	}
	n := copy(p, page[in:])
	if pgno == 1 && in < sqliteHeaderSize {
		hdr, err := headerOf(v, page)
		if err != nil {
			return 0, err
		}
		copy(p[:n], hdr[in:])
	}
	return n, nil
}

// servedLocally finishes the read of a page that came from the local file.
func (c *conn) servedLocally(v *view, pgno uint32, page []byte) (int, error) {
	if r := c.db.reader; !r.copies.isComplete() {
		// What comes next may be remote. Page is SQLite's own; nobody keeps it.
		if loc, ok := v.lookup(pgno); ok {
			r.learn(pageKey{loc.version, pgno, v.epoch}, page)
		}
		c.predictor.hit(v, pgno, page, true)
	}
	if pgno == 1 {
		hdr, err := headerOf(v, page)
		if err != nil {
			return 0, err
		}
		copy(page, hdr[:])
	}
	return len(page), nil
}

// headerOf returns the database header as served, from page 1 as stored.
func headerOf(v *view, page []byte) (*[sqliteHeaderSize]byte, error) {
	if hdr := v.state.header.Load(); hdr != nil {
		return hdr, nil
	}
	if _, err := checkPageOne(page, v.pageSize); err != nil {
		return nil, fmt.Errorf("page 1 as of transaction %s: %w", v.txid, err)
	}
	hdr := new([sqliteHeaderSize]byte)
	copy(hdr[:], page)
	patchPageOne(hdr[:], v.state.number, v.commit)
	v.state.header.Store(hdr)
	return hdr, nil
}

func (c *conn) FileSize() (n int64, err error) {
	defer guard(c.log, "file size", &err)
	return c.view().fileSize(), nil
}

// Lock pins a view at SHARED. Nothing here waits for another connection.
func (c *conn) Lock(level sqlite3vfs.LockType) (err error) {
	defer guard(c.log, "lock", &err)
	if level > sqlite3vfs.LockShared {
		return c.fail("lock", ErrReadOnly)
	}
	if level <= c.level {
		return nil
	}
	if c.db.ctx.Err() != nil {
		return c.fail("lock", context.Cause(c.db.ctx))
	}
	if c.travel == nil {
		c.db.poller.use()
	}
	c.pinned = c.view()
	c.level = level
	return nil
}

func (c *conn) Unlock(level sqlite3vfs.LockType) (err error) {
	defer guard(c.log, "unlock", &err)
	if level >= c.level {
		return nil
	}
	c.level = level
	if level == sqlite3vfs.LockNone {
		c.predictor.end()
		if c.travel == nil {
			c.db.poller.done()
		}
		if !c.unlocked {
			c.pinned = nil
		}
	}
	return nil
}

// CheckReservedLock is asked only when a journal exists, and none ever does.
func (c *conn) CheckReservedLock() (bool, error) { return false, nil }

func (c *conn) Close() (err error) {
	defer guard(c.log, "close", &err)
	c.predictor.end()
	c.pinned, c.travel = nil, nil
	if c.release != nil {
		c.release()
		c.release = nil
	}
	return nil
}

func (c *conn) WriteAt([]byte, int64) (int, error) { return 0, c.fail("write", ErrReadOnly) }
func (c *conn) Truncate(int64) error               { return c.fail("truncate", ErrReadOnly) }
func (c *conn) Sync(sqlite3vfs.SyncType) error     { return nil }
func (c *conn) SectorSize() int64                  { return 4096 }
func (c *conn) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return sqlite3vfs.IocapPowersafeOverwrite
}
