package litestream

import (
	"fmt"
	"strings"

	"github.com/psanford/sqlite3vfs"
)

// How SQLite commits, with a rollback journal: it takes RESERVED, then
// EXCLUSIVE, writes the pages, syncs the file, finalises the journal by deleting,
// truncating or zeroing it, truncates the file and gives its locks back. Each of
// the steps after the writes may be missing, by journal_mode, synchronous and locking_mode.
// At each of them the file is in a consistent state: committed, or rolled
// back. The first makes the commit part of the write buffer; the finalised
// journal, or the end of the lock where there is none, shows it to others. After
// an error SQLite may give up its lock without that, and then nothing counts.

// journalState is how far the journal of the transaction has come.
type journalState int

const (
	journalNone  journalState = iota // there is none: journal_mode MEMORY or OFF, or nothing was written yet
	journalOpen                      // until it is finalised, nothing counts
	journalFinal                     // what was written before, counts
)

// reserve takes the writer's place.
func (c *conn) reserve() error {
	if c.travel != nil {
		return fmt.Errorf("%w: the connection looks at the past", ErrReadOnly)
	}
	if err := c.db.writer.begin(c); err != nil {
		return err
	}
	c.tx, c.again, c.journalState = newTransaction(c.pinned, c.memory), false, journalNone
	return nil
}

func (c *conn) WriteAt(p []byte, off int64) (n int, err error) {
	defer guard(c.log, "write", &err)
	if c.tx == nil {
		return 0, c.fail("write", ErrReadOnly)
	}
	// With locking_mode=EXCLUSIVE, and where a cursor is open, the journal may stay
	// open for the next transaction; or not, as journal_mode can change.
	if c.journal != nil {
		c.journalState = journalOpen
	} else if c.journalState == journalFinal {
		c.journalState = journalNone
	}
	if off == 0 && c.tx.err == nil {
		if err := c.refuseWAL(p); err != nil {
			c.tx.err = err
			return 0, c.fail("write", err)
		}
	}
	if err := c.tx.write(p, off); err != nil {
		return 0, c.fail("write", err)
	}
	return len(p), nil
}

// refuseWAL returns an error for a page 1 by which SQLite goes to WAL mode: once it was
// committed, a connection with locking_mode=EXCLUSIVE could do nothing any more. The copy of
// a database in WAL mode that SQLite's backup makes is none of these: it changes the
// schema cookie as well, and SQLite reads page 1 again when it has given up its lock. Where
// it does not give it up, that is refused, too.
func (c *conn) refuseWAL(page []byte) error {
	if len(page) < sqliteHeaderSize || page[offWriteVersion] < 2 && page[offReadVersion] < 2 {
		return nil
	}
	if !c.exclusive && !c.triedWAL {
		var cookie [4]byte // zeros for a new database
		if c.tx.size > 0 {
			if _, err := c.readChanged(c.tx.view, cookie[:], offSchemaCookie); err != nil {
				return err
			}
		}
		if string(cookie[:]) != string(page[offSchemaCookie:offSchemaCookie+4]) {
			return nil
		}
	}
	c.triedWAL = true // and SQLite goes on thinking that it is in WAL mode
	return errNoWAL
}

func (c *conn) Truncate(size int64) (err error) {
	defer guard(c.log, "truncate", &err)
	if c.tx == nil {
		return c.fail("truncate", ErrReadOnly)
	}
	if !c.tx.isDirty() && c.again && size != c.tx.view.fileSize() {
		c.tx.resized = true // not what page 1 said
	}
	return c.fail("truncate", c.tx.truncate(size))
}

// Sync is part of every commit with PRAGMA synchronous above OFF, and of
// rollbacks.
func (c *conn) Sync(sqlite3vfs.SyncType) (err error) {
	defer guard(c.log, "sync", &err)
	if c.tx == nil {
		return nil
	}
	if err := c.seal(true); err != nil {
		return c.fail("commit", err)
	}
	if c.journalState == journalNone {
		// There is nothing that SQLite could tell us more by.
		err = c.finish()
	}
	return c.fail("commit", err)
}

// isRollback tells whether what was written is what a rollback left. Every
// commit changes the counter, but for those with locking_mode=EXCLUSIVE after the first.
func (c *conn) isRollback() bool {
	return !c.again && !c.tx.resized && c.tx.counter == c.tx.view.state.counter.Load()
}

// seal makes what was written a part of the write buffer, unless it is what a
// rollback left. Durable is whether it is to survive the loss of power.
func (c *conn) seal(durable bool) error {
	tx := c.tx
	if tx.err != nil || !tx.isDirty() || c.isRollback() {
		return nil // after an error, SQLite can only be rolling back
	}
	commit, err := c.db.writer.append(tx, durable)
	if err != nil {
		tx.err = err
		return err
	}
	tx.seal()
	c.appended = append(c.appended, commit)
	return nil
}

// finish has others see what was sealed, or drops what was rolled back.
func (c *conn) finish() error {
	if c.tx.err != nil || c.isRollback() {
		c.startAgain(c.tx.view)
		return nil
	}
	if len(c.appended) == 0 {
		return nil
	}
	if err := c.db.writer.finish(c, c.tx, c.appended); err != nil {
		c.tx.err = err
		return err
	}
	c.committed = c.appended[len(c.appended)-1].number
	c.appended, c.again = nil, true
	c.startAgain(c.pinned)
	return nil
}

// startAgain drops what was changed and goes on with a state.
func (c *conn) startAgain(v *view) {
	if c.tx.counter != c.tx.view.state.counter.Load() {
		// SQLite may go on with pages that it thinks are those of this number.
		c.db.skipCounter(c.tx.counter)
	}
	c.db.writer.takeBack(c.appended)
	c.appended = nil
	c.memory = c.tx.drop()
	c.tx = newTransaction(v, c.memory)
}

// journalIsFinal is told that the journal was finalised: what was written,
// counts.
func (c *conn) journalIsFinal() error {
	if c.tx == nil {
		return nil
	}
	c.journalState = journalFinal
	if err := c.seal(false); err != nil {
		return err
	}
	return c.finish()
}

// endTransaction ends what began with reserve.
func (c *conn) endTransaction() (err error) {
	if c.journalState != journalOpen || c.tx.resized {
		if err = c.seal(false); err == nil && len(c.appended) > 0 {
			err = c.finish()
		}
	}
	committed := c.again
	c.startAgain(c.tx.view)
	c.tx, c.again = nil, false
	c.db.journals.forget(c.journalName, c)
	c.db.writer.end(c)
	if err == nil && committed && c.db.opts.SyncOnCommit {
		ctx, cancel := c.db.tasks.WithTimeout(c.db.opts.ReadTimeout)
		defer cancel()
		err = c.db.writer.await(ctx, c.committed)
	}
	return err
}

// setWriteEnabled turns write mode of the database on or off.
func (c *conn) setWriteEnabled(s string) error {
	var on bool
	switch strings.ToLower(strings.TrimSpace(s)) { // the words that SQLite takes
	case "1", "on", "yes", "true":
		on = true
	case "0", "off", "no", "false":
	default:
		return fmt.Errorf("%w: %q is neither on nor off", errInvalidValue, s)
	}
	if err := c.db.opts.allow("write_enabled", s); err != nil {
		return err
	}
	if on && c.readOnly {
		return fmt.Errorf("%w: this connection is; open it with mode=rw to write later", ErrReadOnly)
	}
	if c.tx != nil {
		return ErrInTransaction
	}
	ctx, cancel := c.db.tasks.WithTimeout(c.db.opts.CloseTimeout)
	defer cancel()
	if on {
		return c.db.writer.enable(ctx, true)
	}
	return c.db.writer.disable(ctx)
}

// syncNow is PRAGMA litestream_sync.
func (c *conn) syncNow() (string, error) {
	ctx, cancel := c.db.tasks.WithTimeout(c.db.opts.ReadTimeout)
	defer cancel()
	if err := c.db.sync(ctx); err != nil {
		return "", err
	}
	return c.db.current.Load().txid.String(), nil
}
