package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

	// The same, for others: what the views need must not be deleted.
	held, past atomic.Pointer[view]

	// unlocked is set where SQLite was told to take no locks: the first view
	// is the only one then.
	unlocked bool

	readOnly  bool // SQLite does not try to write
	exclusive bool // locking_mode, as far as PRAGMAs tell
	triedWAL  bool // SQLite tried to go to WAL mode

	predictor predictor

	tx *transaction // nil below LockReserved

	// Of the last transaction and its journal, for the next.
	memory, journalMemory []byte

	// appended are commits that are in the write buffer, and not finished.
	appended []*localCommit

	// again is set once something was committed under the lock that is held: a
	// connection with locking_mode=EXCLUSIVE does not change the counter then.
	again bool

	journal      *journalFile // nil if none is open
	journalName  string       // of the last one
	journalState journalState

	// committed is the number of the last commit of this connection.
	committed uint64

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
	if !errors.Is(err, errBusy) { // which SQLite tries again
		c.log.Error(op+" failed", "error", err)
	}
	return errorCode(err)
}

// errorCode is the only place where errors become SQLite's codes. It returns
// the exported values of sqlite3vfs as they are, or they would lose theirs.
func errorCode(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errBusy):
		return sqlite3vfs.BusyError
	case errors.Is(err, ErrReadOnly), errors.Is(err, ErrConflict):
		return sqlite3vfs.ReadOnlyError
	case isDiskFull(err):
		return sqlite3vfs.FullError
	case errors.Is(err, ErrCorrupt):
		return sqlite3vfs.CorruptError
	case errors.Is(err, ErrInTransaction), errors.Is(err, ErrTxNotAvailable), errors.Is(err, errInvalidValue), errors.Is(err, errNotAllowed):
		return sqlite3vfs.GenericError
	default:
		return sqlite3vfs.IOErrorRead
	}
}

// pin sets what all reads see; nil: what is newest.
func (c *conn) pin(v *view) {
	c.pinned = v
	c.held.Store(v)
}

// pinNewest pins what the connection is to see. What only older views need may
// be closed as soon as a newer one is there, so it must still be the newest after it
// was pinned.
func (c *conn) pinNewest() {
	for {
		c.pin(nil)
		v := c.view()
		c.pin(v)
		if c.travel != nil || v == c.db.newest() {
			return
		}
	}
}

// travelTo sets what the next transactions see; nil: what is newest.
func (c *conn) travelTo(v *view) {
	c.travel = v
	c.past.Store(v)
}

// view is what the connection sees now.
func (c *conn) view() *view {
	switch {
	case c.pinned != nil:
		return c.pinned
	case c.travel != nil:
		return c.travel
	default:
		return c.db.newest()
	}
}

func (c *conn) ReadAt(p []byte, off int64) (n int, err error) {
	defer guard(c.log, "read", &err)
	if off < 0 {
		return 0, c.fail("read", fmt.Errorf("negative offset %d", off))
	}
	v := c.view()
	if c.tx.changes() {
		n, err := c.readChanged(v, p, off)
		if err == io.EOF {
			return n, err
		}
		return n, c.fail("read", err)
	}
	if off+int64(len(p)) <= sqliteHeaderSize {
		// Within every transaction's begin: the change counter.
		if served := v.state.pageOne.Load(); served != nil {
			return copy(p, served.header[off:]), nil
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

// readChanged is ReadAt of who has changed something.
func (c *conn) readChanged(v *view, p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, done, err := c.tx.read(p[n:], off)
		if !done {
			m, err = c.readPage(v, p[n:], off)
		}
		if err != nil {
			return n, err
		}
		n += m
		off += int64(m)
	}
	return n, nil
}

// readPage fills p from the page that holds offset off, to its end at most.
func (c *conn) readPage(v *view, p []byte, off int64) (int, error) {
	pageSize := int64(v.pageSize)
	pgno, in := uint32(off/pageSize)+1, off%pageSize
	whole := in == 0 && int64(len(p)) >= pageSize
	if v.base != nil {
		if n, done, err := c.readCommitted(v, pgno, p, in); done {
			return n, err
		}
	}
	if whole && c.db.pages.readLocal(v, pgno, p[:pageSize]) {
		return c.servedLocally(v, pgno, p[:pageSize])
	}
	page, cached, ok := c.db.pages.known(v, pgno)
	switch {
	case ok && page != nil && whole:
		c.predictor.hit(v, pgno, page, cached)
	case !ok:
		if whole {
			c.predictor.miss(v, pgno)
		}
		ctx, cancel := c.db.tasks.WithTimeout(c.db.opts.ReadTimeout)
		defer cancel()
		var err error
		if page, err = c.db.pages.page(ctx, v, pgno); err != nil {
			if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			return 0, err
		}
		if whole && page != nil {
			c.predictor.fetched(v, pgno, page)
		}
	}
	if page == nil {
		n := min(int64(len(p)), pageSize-in)
		clear(p[:n])
		return int(n), nil
	}
	if int64(len(page)) != pageSize {
		return 0, fmt.Errorf("page %d has %d bytes, not %d", pgno, len(page), pageSize)
	}
	n := copy(p, page[in:])
	if pgno == 1 {
		served, err := servedOf(v, page, v.cookieShift())
		if err != nil {
			return 0, err
		}
		served.put(p[:n], in, pageSize)
	}
	return n, nil
}

// servedLocally finishes the read of a page that came from the local file.
func (c *conn) servedLocally(v *view, pgno uint32, page []byte) (int, error) {
	if pages := c.db.pages; !pages.isAllLocal() {
		// The next page may be remote. This one belongs to SQLite and is not kept.
		if _, ok := v.lookup(pgno); ok {
			pages.learn(pgno, page)
		}
		c.predictor.hit(v, pgno, page, true)
	}
	if pgno == 1 {
		served, err := servedOf(v, page, v.cookieShift())
		if err != nil {
			return 0, err
		}
		served.put(page, 0, int64(len(page)))
	}
	return len(page), nil
}

// servedOf returns what page 1 as served has other than page, which is as stored: a
// schema cookie that is higher by shift, among others.
func servedOf(v *view, page []byte, shift uint32) (*servedPageOne, error) {
	if served := v.state.pageOne.Load(); served != nil {
		return served, nil
	}
	if _, err := checkPageOne(page, v.pageSize); err != nil {
		return nil, fmt.Errorf("page 1 as of transaction %s: %w", v.txid, err)
	}
	number := v.state.counter.Load()
	served := servePageOne(page, number, v.commit, shift)
	v.state.pageOne.Store(served)
	if v.state.counter.Load() != number {
		v.state.pageOne.Store(nil) // it was just given another
	}
	return served, nil
}

// readCommitted is readPage for one that is in the write buffer. Done tells
// whether it is.
func (c *conn) readCommitted(v *view, pgno uint32, p []byte, in int64) (n int, done bool, err error) {
	loc, ok := v.lookup(pgno)
	if !ok || loc.file.segment == nil {
		return 0, false, nil
	}
	page := p
	if in != 0 || int64(len(p)) < int64(v.pageSize) {
		page = make([]byte, v.pageSize)
	}
	page = page[:v.pageSize]
	if err := readSegment(loc, pgno, page); err != nil {
		if next := c.view(); next != v && errors.Is(err, fs.ErrClosed) {
			n, err := c.readPage(next, p, in+int64(pgno-1)*int64(next.pageSize)) // nothing was pinned
			return n, true, err
		}
		return 0, true, err
	}
	if in == 0 && len(p) >= len(page) {
		c.predictor.hit(v, pgno, page, true)
	}
	if pgno == 1 {
		served, err := servedOf(v, page, 0) // SQLite wrote what it was served
		if err != nil {
			return 0, true, err
		}
		served.put(page, 0, int64(len(page)))
	}
	if in == 0 && len(p) >= len(page) {
		return len(page), true, nil
	}
	return copy(p, page[in:]), true, nil
}

func (c *conn) FileSize() (n int64, err error) {
	defer guard(c.log, "file size", &err)
	if c.tx.changes() {
		return int64(c.tx.size) * int64(c.tx.pageSize), nil
	}
	return c.view().fileSize(), nil
}

// Lock pins a view at SHARED, and takes the writer's place at RESERVED. Readers
// and the writer need not wait for each other.
func (c *conn) Lock(level sqlite3vfs.LockType) (err error) {
	defer guard(c.log, "lock", &err)
	if level <= c.level {
		return nil
	}
	if c.db.tasks.Closed() {
		return c.fail("lock", context.Cause(c.db.tasks.Context()))
	}
	if c.level == sqlite3vfs.LockNone {
		if c.travel == nil {
			c.db.poller.use()
		}
		c.pinNewest()
		c.level = sqlite3vfs.LockShared
	}
	if level >= sqlite3vfs.LockReserved && c.tx == nil {
		if err := c.reserve(); err != nil {
			return c.fail("lock", err)
		}
	}
	c.level = level
	return nil
}

func (c *conn) Unlock(level sqlite3vfs.LockType) (err error) {
	defer guard(c.log, "unlock", &err)
	if level >= c.level {
		return nil
	}
	if level < sqlite3vfs.LockReserved && c.tx != nil {
		err = c.endTransaction()
	}
	c.level = level
	if level == sqlite3vfs.LockNone {
		c.predictor.end()
		if c.travel == nil {
			c.db.poller.done()
		}
		if !c.unlocked {
			c.pin(nil)
		}
	}
	return c.fail("commit", err)
}

// CheckReservedLock is asked only when a journal exists, and none ever does.
func (c *conn) CheckReservedLock() (bool, error) { return false, nil }

func (c *conn) Close() (err error) {
	defer guard(c.log, "close", &err)
	if c.tx != nil {
		err = c.endTransaction()
	}
	c.predictor.end()
	c.pin(nil)
	c.travelTo(nil)
	c.db.leave(c)
	if c.release != nil {
		c.release()
		c.release = nil
	}
	return c.fail("close", err)
}

func (c *conn) SectorSize() int64 { return 4096 }

// DeviceCharacteristics says what the write buffer can promise: of a page that
// is written, its neighbours are safe, and a commit is there whole or not at all.
func (c *conn) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return sqlite3vfs.IocapPowersafeOverwrite
}
