// Package mainfile is the seam between SQLite and the engine for drivers that pass
// SQLITE_FCNTL_SYNC and SQLITE_FCNTL_COMMIT_PHASETWO on. It turns what SQLite does
// to a main database file into the calls that the engine wants. Package
// commitdetect does the same for drivers that do not pass these on.
//
// The package knows no types of a driver.
package mainfile

// Conn is what the package needs of a connection's main file, which
// litestream.Conn documents.
type Conn interface {
	BeginRead() error
	EndRead()
	BeginWrite() error
	EndWrite() error

	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error

	Seal(durable bool) error
	SealSeveral() error
	Commit(durable bool) error
	Rollback()
	IsRolledBack() bool

	Close() error
}

// File is a connection's main file with SQLite's lock levels. One connection uses
// it, one call at a time.
type File struct {
	conn      Conn
	level     Level
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

// Level is a lock level of SQLite's.
type Level int

// Lock levels, with SQLite's numbers.
const (
	None Level = iota
	Shared
	Reserved
	Pending
	Exclusive
)

// New returns the main file of a connection that holds no lock.
func New(conn Conn) *File { return &File{conn: conn} }

// Lock begins a transaction at SHARED, and takes the writer slot at RESERVED.
func (f *File) Lock(level Level) error {
	if level <= f.level {
		return nil
	}
	if f.level == None {
		if err := f.conn.BeginRead(); err != nil {
			return err
		}
		f.level = Shared
	}
	if level >= Reserved {
		if err := f.conn.BeginWrite(); err != nil {
			return err
		}
	}
	f.level = level
	return nil
}

// Unlock drops what is not committed when SQLite gives up the writer slot.
func (f *File) Unlock(level Level) (err error) {
	if level >= f.level {
		return nil
	}
	if level < Reserved && f.level >= Reserved {
		f.writes, f.durable, f.committed = writesGood, false, false
		err = f.conn.EndWrite()
	}
	f.level = level
	if level == None {
		f.conn.EndRead()
	}
	return err
}

// SQLite reads these bytes, which contain the change counter, where it begins to
// read and holds no pages, and reads them alone at no other time.
const (
	versionOffset = 24
	versionSize   = 16
)

// ReadAt reads from the file. It sees that SQLite has given up a transaction after a
// failed write when SQLite begins the next one. With journal_mode=OFF and
// locking_mode=EXCLUSIVE there is no other sign of that.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.writes == writesFailed && off == versionOffset && len(p) == versionSize {
		f.writes = writesUndone
	}
	return f.conn.ReadAt(p, off)
}

// WriteAt writes a page.
func (f *File) WriteAt(p []byte, off int64) (n int, err error) {
	f.beginWrites()
	n, err = f.conn.WriteAt(p, off)
	f.note(err)
	return n, err
}

// Truncate sets the size. If the database has become smaller, SQLite calls it
// between BeforeSync and Commit. So a call there is no sign of a rollback.
func (f *File) Truncate(size int64) error {
	if f.writes != writesSealed {
		f.beginWrites()
	}
	err := f.conn.Truncate(size)
	f.note(err)
	return err
}

// beginWrites drops a transaction that SQLite has rolled back after a write
// failed, or rolls back because another database could not commit.
func (f *File) beginWrites() {
	if f.writes == writesUndone || f.writes == writesSealed {
		f.conn.Rollback()
		f.writes, f.durable = writesGood, false
	}
}

func (f *File) note(err error) {
	if err != nil {
		f.writes = writesFailed
	}
}

// BeforeSync is SQLITE_FCNTL_SYNC, which is called at the end of every transaction that wrote, committed or
// rolled back, whatever PRAGMA synchronous says. If several is set, it is a commit
// of several databases. SQLite ignores the errors of commit then, so everything
// that can fail is done here: if that fails, SQLite rolls all of them back.
func (f *File) BeforeSync(several bool) error {
	switch {
	case f.writes == writesFailed:
		f.writes = writesUndone
	case f.writes == writesSealed: // and another database could not commit
		f.beginWrites()
	case f.conn.IsRolledBack():
		f.conn.Rollback() // of what was sealed
	}
	if !several || f.writes != writesGood {
		return nil
	}
	if err := f.conn.SealSeveral(); err != nil {
		f.note(err)
		return err
	}
	f.writes = writesSealed
	return nil
}

// Sync seals what was written, while SQLite can still roll back if that fails.
// After the first commit with locking_mode=EXCLUSIVE a rollback looks like a
// commit, and what is sealed would wait for a commit that does not come. So it is
// sealed by the commit itself.
func (f *File) Sync() error {
	f.durable = true
	if f.committed {
		return nil
	}
	err := f.conn.Seal(true)
	f.note(err)
	return err
}

// Commit is SQLITE_FCNTL_COMMIT_PHASETWO. It makes what was written visible. The
// journal is gone by now, so SQLite cannot roll back if that fails. SQLite forgets
// the pages that it has cached only if the code is that of an I/O error or of a full
// disk, so the caller returns one of these.
func (f *File) Commit() error {
	if f.writes == writesUndone {
		f.beginWrites() // the commit is one of another transaction, which has written nothing
	}
	err := f.conn.Commit(f.durable)
	f.durable = false
	f.writes = writesGood
	if err != nil {
		f.conn.Rollback()
		return err
	}
	f.committed = true
	return nil
}

// Close ends what the connection has not ended.
func (f *File) Close() error {
	err := f.Unlock(None)
	if cerr := f.conn.Close(); err == nil {
		err = cerr
	}
	return err
}
