package ncruces

import (
	"io"
	"strings"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/mainfile"
	"github.com/ltxvfs/litestream/internal/sqllists"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// file is the main file of a connection to a replica.
type file struct {
	main   *mainfile.File
	conn   *litestream.Conn
	level  vfs.LockLevel
	closed func() // called after the close

	// failed is the last error of the transaction whose text the driver shows. The
	// driver forgets it when the next call succeeds, and SQLite unlocks the file
	// before the driver reads the text. So Unlock and Close return it again, with
	// the code for success.
	failed error
}

var (
	_ vfs.FileSync           = (*file)(nil)
	_ vfs.FileCommitPhaseTwo = (*file)(nil)
	_ vfs.FilePragma         = (*file)(nil)
	_ vfs.FileLockState      = (*file)(nil)
)

// mainOf returns the main file of a replica that a file of the driver is or wraps,
// nil if it is another file.
func mainOf(f vfs.File) *file {
	for {
		switch g := f.(type) {
		case *file:
			return g
		case vfs.FileUnwrap:
			f = g.Unwrap()
		default:
			return nil
		}
	}
}

// SetDB is called by the driver with the connection, before SQLite reads pages.
// That is SQLITE_FCNTL_PDB.
func (f *file) SetDB(db any) {
	if c, ok := db.(*sqlite3.Conn); ok {
		f.conn.SetInterrupted(func() bool { return c.GetInterrupt().Err() != nil })
		f.conn.SetStatement(func() string { return running(c) })
	}
}

// running returns the texts of the statements that a connection runs, with the values
// of their parameters where they may have lists or a LIMIT.
func running(c *sqlite3.Conn) string {
	var all []string
	for s := range c.Stmts() {
		if !s.Busy() {
			continue
		}
		sql := s.SQL()
		if sqllists.MayHave(sql) {
			sql = expanded(c, s)
		}
		all = append(all, sql)
	}
	return strings.Join(all, "; ")
}

// expanded returns the text of a statement with the values that are bound to it,
// none if it is long.
func expanded(c *sqlite3.Conn, s *sqlite3.Stmt) (text string) {
	limit := c.Limit(sqlite3.LIMIT_LENGTH, -1)
	if limit > sqllists.MaxText {
		c.Limit(sqlite3.LIMIT_LENGTH, sqllists.MaxText)
	}
	defer func() {
		recover() // the driver panics if SQLite returns no text, as for a long one
		c.Limit(sqlite3.LIMIT_LENGTH, limit)
	}()
	return s.ExpandedSQL()
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.main.ReadAt(p, off)
	if err == io.EOF {
		return n, err
	}
	return n, f.fail(err)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.main.WriteAt(p, off)
	return n, f.fail(err)
}

func (f *file) Truncate(size int64) error { return f.fail(f.main.Truncate(size)) }

func (f *file) Sync(vfs.SyncFlag) error { return f.fail(f.main.Sync()) }

func (f *file) Size() (int64, error) {
	n, err := f.conn.FileSize()
	return n, f.fail(err)
}

func (f *file) Lock(level vfs.LockLevel) error {
	if f.level == vfs.LOCK_NONE {
		f.failed = nil
	}
	if err := f.main.Lock(mainfile.Level(level)); err != nil {
		return f.fail(err)
	}
	f.level = max(f.level, level)
	return nil
}

func (f *file) Unlock(level vfs.LockLevel) error {
	f.level = min(f.level, level)
	if err := f.main.Unlock(mainfile.Level(level)); err != nil {
		return f.fail(err)
	}
	return f.succeed()
}

// LockState returns the lock that the connection holds.
func (f *file) LockState() vfs.LockLevel { return f.level }

// CheckReservedLock is called only if a journal exists, and none ever exists.
func (f *file) CheckReservedLock() (bool, error) { return false, nil }

func (f *file) SectorSize() int { return f.conn.SectorSize() }

func (f *file) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.DeviceCharacteristic(f.conn.DeviceCharacteristics())
}

// SyncSuper is SQLITE_FCNTL_SYNC. The name is that of the super-journal, empty if
// the transaction is one of a single database.
func (f *file) SyncSuper(super string) error { return f.fail(f.main.BeforeSync(super != "")) }

// CommitPhaseTwo is SQLITE_FCNTL_COMMIT_PHASETWO.
func (f *file) CommitPhaseTwo() error {
	err := f.main.Commit()
	return f.failWith(err, litestream.CodeOfCommit(err))
}

// emptyText is an empty text as the result of a PRAGMA. SQLite names the column by
// the result, and the driver panics if there is none.
const emptyText = "\x00"

// Pragma serves PRAGMAs. SQLite handles those that are not ours.
func (f *file) Pragma(name, value string) (string, error) {
	var set *string
	if value != "" {
		set = &value
	}
	result, err := f.conn.Pragma(name, set)
	switch {
	case litestream.CodeOf(err) == litestream.CodeNotFound:
		return "", sqlite3.NOTFOUND
	case err != nil:
		return err.Error(), f.fail(err) // the text is that of SQLite's error
	case result == nil || *result == "":
		return emptyText, nil
	}
	return *result, nil
}

func (f *file) Close() error {
	err := f.main.Close()
	f.closed()
	if err != nil {
		return f.fail(err)
	}
	return f.succeed()
}

// fail returns the error of the driver for an error of the connection.
func (f *file) fail(err error) error { return f.failWith(err, litestream.CodeOf(err)) }

func (f *file) failWith(err error, code litestream.Code) error {
	if err == nil {
		return nil
	}
	switch sqlite3.ErrorCode(code) { // the primary code
	case sqlite3.IOERR, sqlite3.CANTOPEN:
		f.failed = err
	}
	return vfs.SystemError(err, sqlite3.ExtendedErrorCode(code))
}

// succeed returns the result of a call that succeeds and keeps the text of an
// error.
func (f *file) succeed() error { return vfs.SystemError(f.failed, sqlite3.ErrorCode(0)) }

// companion is a journal of a replica, or a super-journal. Its content need not
// outlive the process.
type companion struct {
	content interface {
		io.ReaderAt
		io.WriterAt
		io.Closer
		Truncate(size int64) error
		FileSize() (int64, error)
	}
}

var _ vfs.File = companion{}

func (f companion) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.content.ReadAt(p, off)
	if err == io.EOF {
		return n, err
	}
	return n, companionError(err)
}

func (f companion) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.content.WriteAt(p, off)
	return n, companionError(err)
}

func (f companion) Size() (int64, error) {
	n, err := f.content.FileSize()
	return n, companionError(err)
}

func (f companion) Truncate(size int64) error        { return companionError(f.content.Truncate(size)) }
func (f companion) Close() error                     { return companionError(f.content.Close()) }
func (f companion) Sync(vfs.SyncFlag) error          { return nil }
func (f companion) Lock(vfs.LockLevel) error         { return nil }
func (f companion) Unlock(vfs.LockLevel) error       { return nil }
func (f companion) CheckReservedLock() (bool, error) { return false, nil }
func (f companion) SectorSize() int                  { return 0 }
func (f companion) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return vfs.IOCAP_POWERSAFE_OVERWRITE
}

func companionError(err error) error {
	return vfs.SystemError(err, sqlite3.ExtendedErrorCode(litestream.CodeOf(err)))
}
