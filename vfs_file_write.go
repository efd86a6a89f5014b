package litestream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ltxvfs/litestream/internal/booltext"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/write"
)

// BeginWrite takes the database's only writer slot. It fails with CodeBusy if
// another connection holds the slot, or the pinned view is not the newest state.
// A connection that holds the slot may call it again, to learn whether the
// database is still open.
func (c *Conn) BeginWrite() (err error) {
	defer task.Guard(c.log, "lock", &err)
	return c.fail("lock", c.beginWrite())
}

func (c *Conn) beginWrite() error {
	if err := c.checkOpen(); err != nil {
		return err
	}
	if c.isWriting() {
		return nil
	}
	if c.past.Load() != nil {
		return fmt.Errorf("%w: the connection looks at the past", ErrReadOnly)
	}
	if err := c.db.writer.Begin(holder{c}); err != nil {
		return err
	}
	c.tx, c.state = write.NewTransaction(c.pinned.Load(), c.memory), connWriting
	return nil
}

// holder is the connection as write mode sees it.
type holder struct{ c *Conn }

var _ write.SlotHolder = holder{}

func (h holder) View() *view.View { return h.c.view() }
func (h holder) Pin(v *view.View) { h.c.pin(v) }

// isWriting reports whether the connection holds the writer slot.
func (c *Conn) isWriting() bool { return c.state >= connWriting }

// WriteAt writes a whole page.
func (c *Conn) WriteAt(p []byte, off int64) (n int, err error) {
	defer task.Guard(c.log, "write", &err)
	if !c.isWriting() {
		return 0, c.fail("write", ErrReadOnly)
	}
	if off == 0 && c.tx.Err() == nil {
		if err := c.refuseWAL(p); err != nil {
			c.tx.Fail(err)
			return 0, c.fail("write", err)
		}
	}
	if err := c.tx.Write(p, off); err != nil {
		return 0, c.fail("write", err)
	}
	return len(p), nil
}

// Truncate sets the size of the file. If a commit has made the database smaller,
// SQLite truncates the file after the commit. Such a call is a change of its own,
// which the next Commit makes visible.
func (c *Conn) Truncate(size int64) (err error) {
	defer task.Guard(c.log, "truncate", &err)
	if !c.isWriting() {
		return c.fail("truncate", ErrReadOnly)
	}
	if c.isSealedSize(size) {
		err := c.tx.Truncate(size)
		c.tx.Seal()
		return c.fail("truncate", err)
	}
	if !c.tx.IsDirty() && c.state == connCommitted && size != c.tx.View().FileSize() {
		return c.fail("truncate", c.tx.Resize(size)) // page 1 says another size
	}
	return c.fail("truncate", c.tx.Truncate(size))
}

// isSealedSize reports whether all changes are sealed in a commit whose size is
// size already. The size of a commit comes from page 1, which SQLite writes before
// it truncates the file.
func (c *Conn) isSealedSize(size int64) bool {
	n := len(c.appended)
	return n > 0 && !c.tx.IsDirty() && size == c.appended[n-1].FileSize()
}

// IsResized reports whether the file was truncated after a commit and the new
// size is not committed yet.
func (c *Conn) IsResized() bool { return c.isWriting() && c.tx.IsResized() }

// IsRolledBack reports whether the file is as it is after a rollback: a write
// has failed, after which SQLite can only be rolling back; or page 1 has the
// change counter of the view, which each commit changes, except those after the
// first with locking_mode=EXCLUSIVE. An adapter of a driver that does not pass
// commits on uses it to decide.
func (c *Conn) IsRolledBack() bool {
	if !c.isWriting() {
		return false
	}
	return c.tx.Err() != nil || c.state != connCommitted && !c.tx.IsResized() && !c.tx.HasNewCounter()
}

// Seal writes the changes to the write buffer as a commit that others do not see
// before Commit is called. If durable is set, the buffer is synced, so that the
// commit survives power loss as well. Without changes, or after a write that
// failed, it does nothing.
func (c *Conn) Seal(durable bool) (err error) {
	defer task.Guard(c.log, "commit", &err)
	return c.fail("commit", c.seal(durable))
}

func (c *Conn) seal(durable bool) error {
	return c.sealBy(func() (*write.LocalCommit, error) { return c.db.writer.Append(c.tx, durable) })
}

// SealSeveral is Seal(true) for a commit of several databases that a super-journal
// ties together. SQLite ignores the errors of Commit and EndWrite then. So what is
// sealed is kept even if write mode ends before Commit, and with SyncOnCommit, which
// could not say that an upload has failed, SealSeveral fails.
func (c *Conn) SealSeveral() (err error) {
	defer task.Guard(c.log, "commit", &err)
	return c.fail("commit", c.sealSeveral())
}

// errSeveral means that SyncOnCommit cannot be kept in a commit of several databases.
var errSeveral = errors.New("with SyncOnCommit a transaction cannot write to several databases, since SQLite would not report that an upload has failed: " +
	"write to each in a transaction of its own, or turn SyncOnCommit off and run PRAGMA litestream_sync for each after COMMIT; " +
	"BEGIN IMMEDIATE begins to write in every attached database that is not read-only: use BEGIN, or attach the others with mode=ro")

func (c *Conn) sealSeveral() error {
	return c.sealBy(func() (*write.LocalCommit, error) {
		if c.db.opts.SyncOnCommit {
			return nil, errSeveral
		}
		return c.db.writer.AppendSeveral(c.tx)
	})
}

// sealBy seals the changes, if there are any, by a function that writes them to the
// write buffer.
func (c *Conn) sealBy(add func() (*write.LocalCommit, error)) error {
	if !c.isWriting() || c.tx.Err() != nil || !c.tx.IsDirty() {
		return nil
	}
	commit, err := add()
	if err != nil {
		c.tx.Fail(err)
		return err
	}
	c.tx.Seal()
	c.appended = append(c.appended, commit)
	return nil
}

// Commit seals the changes as Seal does, and makes everything that is sealed
// visible to other connections, as the newest state. Durable applies to the
// changes that Commit seals itself. Without changes it does nothing. After a write
// that failed it returns the error of that write, and nothing is committed.
func (c *Conn) Commit(durable bool) (err error) {
	defer task.Guard(c.log, "commit", &err)
	return c.fail("commit", c.commit(durable))
}

func (c *Conn) commit(durable bool) error {
	if !c.isWriting() {
		return nil
	}
	if err := c.seal(durable); err != nil {
		return err
	}
	if err := c.tx.Err(); err != nil {
		return fmt.Errorf("an earlier write of the transaction failed: %w", err)
	}
	if len(c.appended) == 0 {
		return nil
	}
	if err := c.db.writer.Finish(holder{c}, c.tx, c.appended); err != nil {
		c.tx.Fail(err)
		return err
	}
	c.committed = c.appended[len(c.appended)-1].Number
	c.appended, c.state = nil, connCommitted
	c.startAgain(c.pinned.Load())
	return nil
}

// Rollback drops all changes since the last Commit, sealed or not.
func (c *Conn) Rollback() {
	defer task.Guard(c.log, "rollback", new(error))
	if c.isWriting() {
		c.startAgain(c.tx.View())
	}
}

// startAgain drops the changes and begins a transaction on view v.
func (c *Conn) startAgain(v *view.View) {
	if c.tx.HasNewCounter() {
		// SQLite may keep cached pages that it takes for those of this counter.
		c.db.SkipCounter(c.tx.Counter())
	}
	c.db.writer.TakeBack(c.appended)
	c.appended = nil
	c.memory = c.tx.Drop()
	c.tx = write.NewTransaction(v, c.memory)
}

// EndWrite drops what is not committed and gives the writer slot back. With
// SyncOnCommit it waits until the commits since BeginWrite are on the replica, and
// returns why they are not.
func (c *Conn) EndWrite() (err error) {
	defer task.Guard(c.log, "unlock", &err)
	if !c.isWriting() {
		return nil
	}
	return c.fail("commit", c.endWrite())
}

func (c *Conn) endWrite() error {
	committed := c.state == connCommitted
	c.startAgain(c.tx.View())
	c.tx, c.state = nil, connReading
	c.db.writer.End(holder{c})
	if !committed || !c.db.opts.SyncOnCommit {
		return nil
	}
	ctx, cancel := c.waitingForSync()
	defer cancel()
	return causeOf(ctx, c.db.writer.Await(ctx, c.committed))
}

// waitingForSync returns a context for a wait until all commits are on the replica.
// It has as much more time than ReadTimeout as the uploads have.
func (c *Conn) waitingForSync() (context.Context, context.CancelFunc) {
	return c.waiting(task.TransferTime(c.db.opts.ReadTimeout, c.db.writer.Status().Unsynced))
}

// setWriteEnabled turns write mode of the database on or off.
func (c *Conn) setWriteEnabled(s string) error {
	on, err := booltext.Parse(strings.TrimSpace(s))
	if err != nil {
		return fmt.Errorf("%w: %q is neither on nor off", errInvalidValue, s)
	}
	if err := c.db.opts.allow("write_enabled", s); err != nil {
		return err
	}
	if on && c.IsReadOnly() {
		return fmt.Errorf("%w: SQLite opened this connection for reading only; open it with mode=rw to write later", ErrReadOnly)
	}
	if c.isWriting() {
		return ErrInTransaction
	}
	ctx, cancel := c.waiting(c.db.opts.CloseTimeout)
	defer cancel()
	if on {
		return causeOf(ctx, c.db.writer.Enable(ctx, true))
	}
	return causeOf(ctx, c.db.writer.Disable(ctx))
}

// syncNow is PRAGMA litestream_sync.
func (c *Conn) syncNow() (string, error) {
	ctx, cancel := c.waitingForSync()
	defer cancel()
	if err := c.db.sync(ctx); err != nil {
		return "", causeOf(ctx, err)
	}
	return c.db.Current.Load().TXID.String(), nil
}
