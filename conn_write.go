package litestream

import (
	"context"
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
// journal, or the end of the lock, shows it to others.

// reserve takes the writer's place.
func (c *conn) reserve() error {
	if c.travel != nil {
		return fmt.Errorf("%w: the connection looks at the past", ErrReadOnly)
	}
	if err := c.db.writer.begin(c); err != nil {
		return err
	}
	c.tx, c.again = newTransaction(c.pinned), false
	return nil
}

func (c *conn) WriteAt(p []byte, off int64) (n int, err error) {
	defer guard(c.log, "write", &err)
	if c.tx == nil {
		return 0, c.fail("write", ErrReadOnly)
	}
	if err := c.tx.write(p, off); err != nil {
		return 0, c.fail("write", err)
	}
	return len(p), nil
}

func (c *conn) Truncate(size int64) (err error) {
	defer guard(c.log, "truncate", &err)
	if c.tx == nil {
		return c.fail("truncate", ErrReadOnly)
	}
	if !c.tx.dirty && c.again && size != c.tx.view.fileSize() {
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
	if c.journal == nil {
		// There is nothing that SQLite could tell us more by.
		err = c.finish()
	}
	return c.fail("commit", err)
}

// seal makes what was written a part of the write buffer, unless it is what a
// rollback left. Durable is whether it is to survive the loss of power.
func (c *conn) seal(durable bool) error {
	tx := c.tx
	switch {
	case tx.err != nil:
		return tx.err
	case !tx.dirty:
		return nil
	case !tx.isCommit() && !c.again && len(c.appended) == 0:
		return nil
	}
	commit, err := c.db.writer.append(tx, durable)
	if err != nil {
		tx.err = err
		return err
	}
	tx.dirty, tx.resized = false, false
	c.appended = append(c.appended, commit)
	return nil
}

// finish has others see what was sealed.
func (c *conn) finish() error {
	if len(c.appended) == 0 {
		return nil
	}
	tx := c.tx
	commits := c.appended
	c.appended, c.again = nil, true
	v, err := c.db.writer.finish(commits, tx.counter)
	if err != nil {
		tx.err = err
		return err
	}
	c.pin(v)
	c.committed = commits[len(commits)-1].number
	err = tx.drop()
	c.tx = newTransaction(v)
	return err
}

// journalFinal is told that the journal says: what was written, counts.
func (c *conn) journalFinal() error {
	if c.tx == nil {
		return nil
	}
	if err := c.seal(false); err != nil {
		return err
	}
	return c.finish()
}

// endTransaction ends what began with reserve.
func (c *conn) endTransaction() error {
	err := c.journalFinal()
	committed := c.again
	if c.tx.counter != c.tx.view.state.number {
		// SQLite may go on with pages that it thinks are those of this number.
		c.db.skipNumber(c.tx.counter)
	}
	_ = c.tx.drop()
	c.tx, c.again = nil, false
	c.db.writer.end(c)
	if err == nil && committed && c.db.opts.SyncOnCommit {
		ctx, cancel := c.db.withTimeout(c.db.opts.ReadTimeout)
		defer cancel()
		err = c.db.writer.await(ctx, c.committed)
	}
	return err
}

// journalFile is the rollback journal of a connection that writes. It lives as
// long as it is open: nothing is to be rolled back after a crash.
type journalFile struct {
	tempFile
	c *conn
}

// zeroedHeader is how much SQLite writes zeros over, for a journal that stays.
const zeroedHeader = 28

func (f *journalFile) WriteAt(p []byte, off int64) (n int, err error) {
	defer guard(f.c.log, "write journal", &err)
	if off == 0 && len(p) >= zeroedHeader && isZero(p) {
		if err := f.c.journalFinal(); err != nil {
			return 0, f.c.fail("commit", err)
		}
	}
	return f.tempFile.WriteAt(p, off)
}

func (f *journalFile) Truncate(size int64) (err error) {
	defer guard(f.c.log, "truncate journal", &err)
	if size == 0 {
		if err := f.c.journalFinal(); err != nil {
			return f.c.fail("commit", err)
		}
	}
	return f.tempFile.Truncate(size)
}

// Close comes before the journal is deleted. After an error it comes without
// that, but then nothing counts as a commit.
func (f *journalFile) Close() (err error) {
	defer guard(f.c.log, "close journal", &err)
	if f.c.journal == f {
		f.c.journal = nil
	}
	err = f.c.fail("commit", f.c.journalFinal())
	if cerr := f.tempFile.Close(); err == nil {
		err = cerr
	}
	return err
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// superJournal ties the journals of several databases together that SQLite
// commits at once. It lives in memory: each database commits for itself.
type superJournal struct {
	tempFile
	check func(names []byte) error // refuses databases that would look for it after a crash
}

func (f *superJournal) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check(p); err != nil {
		return 0, sqlite3vfs.IOErrorWrite
	}
	return f.tempFile.WriteAt(p, off)
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
	if on && c.readOnly {
		return fmt.Errorf("%w: this connection is; open it with mode=rw to write later", ErrReadOnly)
	}
	if c.tx != nil {
		return ErrInTransaction
	}
	ctx, cancel := c.db.withTimeout(c.db.opts.CloseTimeout)
	defer cancel()
	if on {
		return c.db.writer.enable(ctx)
	}
	return c.db.writer.disable(ctx)
}

// syncNow is PRAGMA litestream_sync.
func (c *conn) syncNow() (string, error) {
	ctx, cancel := c.db.withTimeout(c.db.opts.ReadTimeout)
	defer cancel()
	if err := c.db.sync(ctx); err != nil {
		return "", err
	}
	return c.db.current.Load().txid.String(), nil
}

// sync has everything that is committed reach the replica.
func (db *database) sync(ctx context.Context) error { return db.writer.sync(ctx) }
