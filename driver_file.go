//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"errors"
	"io"
	"log/slog"

	"github.com/ltxvfs/litestream/internal/commitdetect"
	"github.com/ltxvfs/litestream/internal/osvfs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/psanford/sqlite3vfs"
)

// mainFile is a connection's main file for sqlite3vfs, which does not pass
// commits on.
type mainFile struct {
	*commitdetect.File
	conn *Conn
}

var (
	_ sqlite3vfs.File           = (*mainFile)(nil)
	_ sqlite3vfs.FileController = (*mainFile)(nil)
)

func (f *mainFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	return n, driverError(err)
}

func (f *mainFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, driverError(err)
}

func (f *mainFile) Truncate(size int64) error { return driverError(f.File.Truncate(size)) }

func (f *mainFile) Sync(sqlite3vfs.SyncType) error { return driverError(f.File.Sync()) }

func (f *mainFile) FileSize() (int64, error) {
	n, err := f.conn.FileSize()
	return n, driverError(err)
}

func (f *mainFile) Lock(level sqlite3vfs.LockType) error {
	return driverError(f.File.Lock(commitdetect.Level(level)))
}

func (f *mainFile) Unlock(level sqlite3vfs.LockType) error {
	return driverError(f.File.Unlock(commitdetect.Level(level)))
}

// CheckReservedLock is called only if a journal exists, and none ever exists.
func (f *mainFile) CheckReservedLock() (bool, error) { return false, nil }

func (f *mainFile) SectorSize() int64 { return int64(f.conn.SectorSize()) }

func (f *mainFile) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return sqlite3vfs.DeviceCharacteristic(f.conn.DeviceCharacteristics())
}

// FileControl serves PRAGMAs. SQLite handles those that are not ours.
func (f *mainFile) FileControl(_ int, name string, value *string) (*string, error) {
	result, err := f.conn.Pragma(name, value)
	return result, driverError(err)
}

func (f *mainFile) Close() error { return driverError(f.File.Close()) }

// companion is a file beside the main file, or a temporary file. Its content need
// not outlive the process.
type companion struct {
	file interface {
		io.ReaderAt
		io.WriterAt
		io.Closer
		Truncate(size int64) error
		FileSize() (int64, error)
	}
	log *slog.Logger
}

var _ sqlite3vfs.File = companion{}

func (f companion) ReadAt(p []byte, off int64) (n int, err error) {
	defer task.Guard(f.log, "read temp file", &err)
	n, err = f.file.ReadAt(p, off)
	return n, driverError(err)
}

func (f companion) WriteAt(p []byte, off int64) (n int, err error) {
	defer task.Guard(f.log, "write journal", &err)
	n, err = f.file.WriteAt(p, off)
	return n, driverError(err)
}

func (f companion) Truncate(size int64) (err error) {
	defer task.Guard(f.log, "truncate journal", &err)
	return driverError(f.file.Truncate(size))
}

func (f companion) FileSize() (n int64, err error) {
	defer task.Guard(f.log, "size of temp file", &err)
	n, err = f.file.FileSize()
	return n, driverError(err)
}

func (f companion) Close() (err error) {
	defer task.Guard(f.log, "close journal", &err)
	return driverError(f.file.Close())
}

func (f companion) Sync(sqlite3vfs.SyncType) error   { return nil }
func (f companion) Lock(sqlite3vfs.LockType) error   { return nil }
func (f companion) Unlock(sqlite3vfs.LockType) error { return nil }
func (f companion) CheckReservedLock() (bool, error) { return false, nil }
func (f companion) SectorSize() int64                { return 0 }
func (f companion) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return sqlite3vfs.IocapPowersafeOverwrite
}

// driverError returns the error of sqlite3vfs with the code of err. It returns the
// exported values of that package unwrapped, because other errors lose their code.
func driverError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	osvfs.ClearErrno()
	code := CodeOf(err)
	if _, ok := errors.AsType[*commitdetect.CommitError](err); ok {
		code = CodeOfCommit(err)
	}
	if e, ok := driverErrors[code]; ok {
		return e
	}
	return sqlite3vfs.IOErrorRead
}

var driverErrors = map[Code]error{
	CodeError:    sqlite3vfs.GenericError,
	CodeBusy:     sqlite3vfs.BusyError,
	CodeReadOnly: sqlite3vfs.ReadOnlyError,
	CodeIOErr:    sqlite3vfs.IOError,
	CodeCorrupt:  sqlite3vfs.CorruptError,
	CodeNotFound: sqlite3vfs.NotFoundError,
	CodeFull:     sqlite3vfs.FullError,
	CodeCantOpen: sqlite3vfs.CantOpenError,
	CodeRead:     sqlite3vfs.IOErrorRead,
}
