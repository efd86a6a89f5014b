package litestream

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/write"
)

// Conn is the main database file of one SQLite connection. It is the seam
// between SQLite and the engine: adapters of SQLite drivers call it, programs
// do not. It knows pages, transactions and PRAGMAs, but no lock levels, journals
// or result codes of a particular driver.
//
// An adapter gets a Conn from VFS.OpenConn and calls its methods in this order:
//
//   - BeginRead when SQLite takes SHARED, EndRead when it gives that up.
//   - BeginWrite within them when SQLite takes RESERVED, and once more when it
//     goes on to EXCLUSIVE. EndWrite when SQLite goes back to SHARED.
//   - WriteAt and Truncate between BeginWrite and EndWrite only. Other
//     connections do not see what is written.
//   - Commit where SQLite commits: at SQLITE_FCNTL_COMMIT_PHASETWO, if the driver
//     passes that on. Several commits may come before EndWrite, as with
//     locking_mode=EXCLUSIVE. Changes that are not committed are dropped by
//     Rollback and by EndWrite.
//   - Seal before Commit where SQLite syncs the file. It writes the changes to the
//     write buffer, and if it fails, SQLite can still roll back. Nothing is
//     uploaded between Seal and the Commit, Rollback or EndWrite that follows, so
//     that must not wait for another statement.
//   - SealSeveral in place of that Seal in a commit of several databases, in which
//     SQLite ignores the errors of Commit and EndWrite: at SQLITE_FCNTL_SYNC, if it
//     comes with the name of a super-journal.
//   - Close last, in any state.
//
// ReadAt, FileSize and Pragma may be called at any time. Outside of BeginRead
// and EndRead they see the newest state, which may change between two calls.
//
// Errors are Go errors; CodeOf gives SQLite's result code for each. They are
// logged, and litestream_status shows the last one. BeginWrite fails with
// CodeBusy when another connection writes or the pinned state is not the newest
// one. After an error of WriteAt or Truncate nothing can be committed until
// Rollback or EndWrite: further writes are ignored. EndRead and EndWrite always
// end what was begun, also when EndWrite returns an error. No method panics.
//
// One connection uses a Conn, one call at a time. It is not safe for concurrent
// use.
type Conn struct {
	db      *database
	name    string // of the file
	token   string // by which a connector finds it; "" for other connections
	log     *slog.Logger
	release func() // called by Close; nil once it was called

	access access
	state  connState
	wal    walGuard

	// pinned is the view that all reads see, nil outside of transactions. past is
	// the view that transactions pin instead of the newest; nil means the newest.
	// Other goroutines load both, since files that these views need are kept.
	pinned, past atomic.Pointer[view.View]

	told bool // SQLite knows something of the pinned view, so that the transaction keeps it

	predictor pages.Predictor

	interrupted func() bool     // see SetInterrupted; nil: never
	call        context.Context // of the call of a connector's connection that is under way; nil: none

	tx        *write.Transaction   // changes since the last commit; nil unless the state is connWriting or connCommitted
	appended  []*write.LocalCommit // commits that are in the write buffer, and not visible to others
	memory    []byte               // memory of the last transaction, for the next
	committed uint64               // number of the newest commit of this connection

	lastErr atomic.Pointer[connError]
}

// connState is how far a connection has come in a transaction.
type connState int

const (
	connIdle      connState = iota // outside of a transaction
	connReading                    // between BeginRead and EndRead
	connWriting                    // between BeginWrite and EndWrite, before the first commit
	connCommitted                  // between BeginWrite and EndWrite, after a commit
)

// access is what SQLite may do with a connection.
type access int

const (
	accessWrite access = iota // SQLite may try to write
	accessRead                // SQLite opened the file for reading only
	accessFixed               // SQLite takes no locks, so the first view is the only one
)

// connError is an error of which SQLite got only the code.
type connError struct {
	Time time.Time `json:"time"`
	Op   string    `json:"op"`
	Text string    `json:"text"`

	err error
}

// fail adds the place of the replica to the error of an operation, records the
// error and returns it.
func (c *Conn) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	err = placed(c.db.place, err)
	c.lastErr.Store(&connError{Time: time.Now().UTC(), Op: op, Text: err.Error(), err: err})
	switch {
	case errors.Is(err, write.ErrBusy): // SQLite tries again
	case errors.Is(err, ErrInterrupted):
		c.log.Debug(op+" interrupted", "error", err)
	default:
		c.log.Error(op+" failed", "error", err)
	}
	return err
}

// pin sets the view that all reads see. A nil view ends that.
func (c *Conn) pin(v *view.View) { c.pinned.Store(v) }

// pinNewest pins the view that the next transaction sees: the newest, or the one that
// the connection has travelled to. Files that only older views need may be closed as
// soon as a newer view is published. So the newest view must still be the newest after
// it was pinned.
func (c *Conn) pinNewest() {
	if past := c.past.Load(); past != nil {
		v := c.db.RenewPast(past)
		c.travelTo(v)
		c.pin(v)
		return
	}
	for {
		v := c.db.Newest()
		c.pin(v)
		if v == c.db.Newest() {
			return
		}
	}
}

// travelTo sets the view that the next transactions see; nil means the newest.
func (c *Conn) travelTo(v *view.View) { c.past.Store(v) }

// view returns the view that the connection sees now.
func (c *Conn) view() *view.View {
	if v := c.pinned.Load(); v != nil {
		return v
	}
	if v := c.past.Load(); v != nil {
		return v
	}
	return c.db.Newest()
}

// IsReadOnly reports whether SQLite is to open the file for reading only.
func (c *Conn) IsReadOnly() bool { return c.access != accessWrite }

// FileSize returns the size of the file in bytes.
func (c *Conn) FileSize() (n int64, err error) {
	defer task.Guard(c.log, "file size", &err)
	c.told = true
	if c.tx.Changes() {
		return c.tx.FileSize(), nil
	}
	return c.view().FileSize(), nil
}

// BeginRead pins the view that all reads see until EndRead. If the files of that view
// turn out to be deleted at the first read, before SQLite knows anything of it, the
// newest view is pinned instead.
func (c *Conn) BeginRead() (err error) {
	defer task.Guard(c.log, "lock", &err)
	if err := c.checkOpen(); err != nil {
		return c.fail("lock", err)
	}
	if c.past.Load() == nil {
		if err := c.db.poller.use(c.waiting); err != nil {
			c.db.poller.done()
			return c.fail("lock", err)
		}
	}
	c.pinNewest()
	c.state, c.told = connReading, false
	return nil
}

// checkOpen returns why the database was closed, nil if it is open.
func (c *Conn) checkOpen() error {
	if c.db.tasks.Closed() {
		return context.Cause(c.db.tasks.Context())
	}
	return nil
}

// EndRead ends what BeginRead began.
func (c *Conn) EndRead() {
	defer task.Guard(c.log, "unlock", new(error))
	c.state = connIdle
	c.predictor.End()
	if c.past.Load() == nil {
		c.db.poller.done()
	}
	if c.access != accessFixed {
		c.pin(nil)
	}
}

// Close ends the connection. Changes that are not committed are dropped.
func (c *Conn) Close() (err error) {
	defer task.Guard(c.log, "close", &err)
	if c.isWriting() {
		err = c.endWrite()
	}
	c.state = connIdle
	c.predictor.End()
	c.pin(nil)
	c.travelTo(nil)
	c.db.leave(c)
	if c.release != nil {
		c.release()
		c.release = nil
	}
	return c.fail("close", err)
}

// SectorSize returns the size that SQLite takes for that of a disk's sectors.
func (c *Conn) SectorSize() int { return 4096 }

// DeviceCharacteristics returns SQLite's bits for what the write buffer promises,
// SQLITE_IOCAP_POWERSAFE_OVERWRITE: a page that is written does not damage its
// neighbours.
func (c *Conn) DeviceCharacteristics() int { return 0x1000 }
