//go:build SQLITE3VFS_LOADABLE_EXT

package main

import "github.com/ltxvfs/litestream"

// mainFile is a connection's main file with SQLite's lock levels. SQLite tells it
// of commits by SQLITE_FCNTL_COMMIT_PHASETWO. One connection uses it, one call at
// a time.
type mainFile struct {
	*litestream.Conn
	level     int
	writes    writes
	durable   bool // SQLite has synced what it wrote since the last commit
	committed bool // a commit was made under the lock that is held
}

// writes is the result of the writes since the last commit. A rollback is inferred
// from it: SQLite does not report rollbacks to the VFS, and with
// locking_mode=EXCLUSIVE it keeps its lock after one.
type writes int

const (
	// writesGood means that every write succeeded, or there was none.
	writesGood writes = iota

	// writesFailed means that a write failed. SQLite rolls back, and the writes by
	// which it does so are ignored.
	writesFailed

	// writesUndone means that a write failed and SQLite has ended the rollback
	// with a sync. The next write belongs to another transaction.
	writesUndone

	// writesSealed means that all writes are sealed for a commit of several
	// databases. Another write before the commit belongs to a rollback.
	writesSealed
)

// Lock levels of SQLite.
const (
	lockNone     = 0
	lockShared   = 1
	lockReserved = 2
)

// lock begins a transaction at SHARED, and takes the writer slot at RESERVED.
func (f *mainFile) lock(level int) error {
	if level <= f.level {
		return nil
	}
	if f.level == lockNone {
		if err := f.BeginRead(); err != nil {
			return err
		}
		f.level = lockShared
	}
	if level >= lockReserved {
		if err := f.BeginWrite(); err != nil {
			return err
		}
	}
	f.level = level
	return nil
}

// unlock drops what is not committed when SQLite gives up the writer slot.
func (f *mainFile) unlock(level int) (err error) {
	if level >= f.level {
		return nil
	}
	if level < lockReserved && f.level >= lockReserved {
		f.writes, f.durable, f.committed = writesGood, false, false
		err = f.EndWrite()
	}
	f.level = level
	if level == lockNone {
		f.EndRead()
	}
	return err
}

// WriteAt writes a page.
func (f *mainFile) WriteAt(p []byte, off int64) (n int, err error) {
	f.beginWrites()
	n, err = f.Conn.WriteAt(p, off)
	f.note(err)
	return n, err
}

// Truncate sets the size. If the database has become smaller, SQLite calls it
// between beforeSync and commit. So a call there is no sign of a rollback.
func (f *mainFile) Truncate(size int64) error {
	if f.writes != writesSealed {
		f.beginWrites()
	}
	err := f.Conn.Truncate(size)
	f.note(err)
	return err
}

// beginWrites drops a transaction that SQLite has rolled back after a write
// failed, or rolls back because another database could not commit.
func (f *mainFile) beginWrites() {
	if f.writes == writesUndone || f.writes == writesSealed {
		f.Rollback()
		f.writes, f.durable = writesGood, false
	}
}

func (f *mainFile) note(err error) {
	if err != nil {
		f.writes = writesFailed
	}
}

// beforeSync is called at the end of every transaction that wrote, committed or
// rolled back, whatever PRAGMA synchronous says. If several is set, it is a commit
// of several databases. SQLite ignores the errors of commit then, so everything
// that can fail is done here: if that fails, SQLite rolls all of them back.
func (f *mainFile) beforeSync(several bool) error {
	switch {
	case f.writes == writesFailed:
		f.writes = writesUndone
	case f.writes == writesSealed: // and another database could not commit
		f.beginWrites()
	case f.IsRolledBack():
		f.Rollback() // of what was sealed
	}
	if !several || f.writes != writesGood {
		return nil
	}
	if err := f.Seal(true); err != nil {
		f.note(err)
		return err
	}
	f.writes = writesSealed
	return nil
}

// sync seals what was written, while SQLite can still roll back if that fails.
// After the first commit with locking_mode=EXCLUSIVE a rollback looks like a
// commit, and what is sealed would wait for a commit that does not come. So it is
// sealed by the commit itself.
func (f *mainFile) sync() error {
	f.durable = true
	if f.committed {
		return nil
	}
	err := f.Seal(true)
	f.note(err)
	return err
}

// commit makes what was written visible. The journal is gone by now, so SQLite
// cannot roll back if that fails. It forgets the pages that it has cached only
// after an I/O error or if the disk is full, so the error is always one of these.
func (f *mainFile) commit() litestream.Code {
	err := f.Commit(f.durable)
	f.durable = false
	f.writes = writesGood
	if err == nil {
		f.committed = true
		return litestream.CodeOK
	}
	f.Rollback()
	if code := litestream.CodeOf(err); code == litestream.CodeFull {
		return code
	}
	return litestream.CodeIOErr
}

// Close ends what the connection has not ended.
func (f *mainFile) Close() error {
	err := f.unlock(lockNone)
	if cerr := f.Conn.Close(); err == nil {
		err = cerr
	}
	return err
}
