// Package commitdetect is the seam between SQLite and the engine for drivers that
// do not pass SQLITE_FCNTL_COMMIT_PHASETWO on. It detects commits by what SQLite
// does to the main database file, its lock and its journal.
//
// With a rollback journal SQLite commits like this: it takes RESERVED, then
// EXCLUSIVE, writes the pages, syncs the file, finalises the journal by deleting,
// truncating or zeroing it, truncates the file and gives its locks back. Each of
// the steps after the writes may be missing, by journal_mode, synchronous and
// locking_mode. At each of them the file is in a consistent state: committed, or
// rolled back. The first of them seals the commit in the write buffer. The
// finalised journal, or the end of the lock where there is none, makes it visible
// to other connections. After an error SQLite may give up its lock without
// finalising the journal, and then nothing is committed.
//
// After a call has failed, Conn ignores what SQLite writes to undo the transaction,
// until Rollback. With locking_mode=EXCLUSIVE the lock does not say where the undoing
// ends. The end of the journal does, or a sync, or the read by which SQLite begins
// anew, or the change counter of the next transaction.
//
// The package knows no types of a driver.
package commitdetect

import "encoding/binary"

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
	FileSize() (int64, error)

	Seal(durable bool) error
	SealSeveral() error
	Commit(durable bool) error
	Rollback()
	IsRolledBack() bool
	IsResized() bool

	Close() error
}

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

// journalState is how far the journal of a transaction has come.
type journalState int

const (
	noJournal        journalState = iota // journal_mode is MEMORY or OFF, or nothing was written yet
	journalOpen                          // nothing is committed until the journal is finalised
	journalOfSeveral                     // as journalOpen, and SQLite commits several databases
	journalFinal                         // everything that was written before is committed
)

// File is a connection's main file with lock levels and a journal. One connection
// uses it, one call at a time.
type File struct {
	conn  Conn
	files *Files
	name  string // name of the database
	key   string // key of the database, see KeyOf

	level       Level
	state       journalState
	journal     *Journal // the open journal, nil if there is none
	journalName string   // name of the last journal
	memory      []byte   // memory of the last journal, for reuse by the next

	failed  bool    // a write or a commit has failed since the last Rollback of conn
	counter counter // in page 1 as SQLite has last written it
}

// counter is the change counter of a database.
type counter struct {
	n     uint32
	known bool // SQLite has written page 1 under the lock that is held
}

// SQLite reads these bytes, which begin with the change counter, where it begins to
// read and holds no pages, and reads them alone at no other time.
const (
	versionOffset = 24
	versionSize   = 16
)

// ReadAt reads from the file. It sees that SQLite has given up a transaction when
// SQLite begins the next one. With journal_mode=OFF and locking_mode=EXCLUSIVE there
// is no other sign of that.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.failed && off == versionOffset && len(p) == versionSize {
		f.rollback()
	}
	return f.conn.ReadAt(p, off)
}

// FileSize returns the size of the file in bytes.
func (f *File) FileSize() (int64, error) { return f.conn.FileSize() }

// Truncate sets the size of the file.
func (f *File) Truncate(size int64) error {
	if size == 0 {
		f.counter = counter{known: true} // a new database is rolled back, and its next transaction counts from 0
	}
	return f.note(f.conn.Truncate(size))
}

// WriteAt writes a page. It fails if SQLite has undone a transaction that failed, and
// commits another one.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	// With locking_mode=EXCLUSIVE, and where a cursor is open, the journal may stay
	// open for the next transaction. It need not, since journal_mode can change.
	switch {
	case f.level < Reserved:
	case f.state == journalOfSeveral:
	case f.journal != nil:
		f.state = journalOpen
	case f.state == journalFinal:
		f.state = noJournal
	}
	if off == 0 && f.countsOn(p) {
		// With the journal in memory, synchronous=OFF and locking_mode=EXCLUSIVE
		// there is no sign of the end of a transaction. So it is not known whether
		// those before the one that failed were committed, and SQLite holds their
		// pages. None is committed until the lock is given back.
		if err := f.conn.Commit(false); err != nil {
			return 0, err
		}
	}
	n, err := f.conn.WriteAt(p, off)
	return n, f.note(err)
}

// countsOn notes the change counter in page 1, which SQLite writes. It reports whether
// a transaction has failed and this is the next one: a rollback writes the counter of
// before its transaction, and SQLite increments it in the first commit after that.
func (f *File) countsOn(page []byte) bool {
	if len(page) < versionOffset+4 {
		return false
	}
	before := f.counter
	f.counter = counter{binary.BigEndian.Uint32(page[versionOffset:]), true}
	return f.failed && before.known && int32(f.counter.n-before.n) > 0
}

// note notes whether a call that writes or commits has failed.
func (f *File) note(err error) error {
	f.failed = f.failed || err != nil
	return err
}

// rollback drops what is not committed.
func (f *File) rollback() {
	f.conn.Rollback()
	f.failed, f.counter = false, counter{}
}

// Lock begins a transaction at Shared, and takes the writer slot at Reserved.
// Readers and the writer do not wait for each other.
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
		if f.level < Reserved {
			f.state, f.failed, f.counter = noJournal, false, counter{}
			f.files.setWriter(f)
		}
	}
	f.level = level
	return nil
}

// Unlock ends a write transaction when SQLite gives up the writer slot. It
// commits what SQLite has committed without a journal, and drops what it has
// not committed.
func (f *File) Unlock(level Level) error {
	if level >= f.level {
		return nil
	}
	var err error
	if level < Reserved && f.level >= Reserved {
		err = f.endWrite()
	}
	f.level = level
	if level == None {
		f.conn.EndRead()
	}
	return err
}

// endWrite gives the writer slot back.
func (f *File) endWrite() error {
	var err error
	isOpen := f.state == journalOpen || f.state == journalOfSeveral
	if (!isOpen || f.conn.IsResized()) && !f.conn.IsRolledBack() {
		err = final(f.conn.Commit(false))
	}
	f.files.forget(f.journalName, f)
	if werr := f.conn.EndWrite(); err == nil {
		err = werr
	}
	return err
}

// Sync is part of every commit with PRAGMA synchronous above OFF, and of
// rollbacks.
func (f *File) Sync() error {
	if f.level < Reserved {
		return nil
	}
	if !f.conn.IsRolledBack() {
		if err := f.seal(); err != nil {
			return err
		}
	}
	if f.state == noJournal {
		return f.settle() // no later call would report the commit
	}
	return nil
}

// seal writes the transaction to the write buffer.
func (f *File) seal() error {
	if f.state == journalOfSeveral {
		return f.note(f.conn.SealSeveral())
	}
	return f.note(f.conn.Seal(true))
}

// settle makes what was written visible, or drops it if it is what a rollback
// leaves.
func (f *File) settle() error {
	if f.conn.IsRolledBack() {
		f.rollback()
		return nil
	}
	return f.note(f.conn.Commit(false))
}

// journalNamesSuper is called when the journal gets the name of a super-journal,
// which ties the databases of a commit together. The journal may be one that has
// stayed open, and nothing need be written to the file yet.
func (f *File) journalNamesSuper() {
	if f.level >= Reserved {
		f.state = journalOfSeveral
	}
}

// journalIsFinal is called when the journal is finalised.
func (f *File) journalIsFinal() error {
	if f.level < Reserved {
		return nil
	}
	f.state = journalFinal
	return final(f.settle())
}

// CommitError is the error of a commit that was made when SQLite finalised the
// journal or gave its lock back. SQLite drops the pages that it has cached only if the
// code is that of an I/O error or of a full disk, so the caller returns one of these.
type CommitError struct{ err error }

func (e *CommitError) Error() string { return e.err.Error() }
func (e *CommitError) Unwrap() error { return e.err }

// final returns the error of a commit as a CommitError.
func final(err error) error {
	if err == nil {
		return nil
	}
	return &CommitError{err}
}

// Close commits as Unlock does, and closes the connection.
func (f *File) Close() error {
	err := f.Unlock(None)
	f.files.close(f)
	if cerr := f.conn.Close(); err == nil {
		err = cerr
	}
	return err
}
