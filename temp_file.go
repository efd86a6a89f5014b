package litestream

import (
	"fmt"
	"io"
	"os"

	"github.com/psanford/sqlite3vfs"
)

// tempSpill is how large a temporary file grows in memory, bytes.
const tempSpill = 1 << 20

// tempFile is a temporary database or journal of SQLite: sorts, temp tables,
// statement journals. It lives in memory, and beyond tempSpill in a file
// where SQLite's own would be, which is unlinked at once, so that a killed process
// leaves nothing behind.
// One connection uses it; it is not safe for concurrent use.
type tempFile struct {
	mem  []byte
	disk *os.File // nil until spilled
	path string   // of disk, where the system cannot unlink an open file
}

var _ sqlite3vfs.File = (*tempFile)(nil)

func (f *tempFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, sqlite3vfs.IOErrorRead
	}
	if f.disk != nil {
		n, err := f.disk.ReadAt(p, off)
		if err != nil && err != io.EOF {
			return n, sqlite3vfs.IOErrorRead
		}
		return n, err
	}
	if off >= int64(len(f.mem)) {
		return 0, io.EOF
	}
	n := copy(p, f.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *tempFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, sqlite3vfs.IOErrorWrite
	}
	end := off + int64(len(p))
	if f.disk == nil && end > tempSpill {
		if err := f.spill(); err != nil {
			return 0, sqlite3vfs.IOErrorWrite
		}
	}
	if f.disk != nil {
		return f.disk.WriteAt(p, off)
	}
	f.growTo(end)
	return copy(f.mem[off:], p), nil
}

// growTo makes the file at least n bytes long, the new ones zero.
func (f *tempFile) growTo(n int64) {
	if more := n - int64(len(f.mem)); more > 0 {
		f.mem = append(f.mem, make([]byte, more)...)
	}
}

// maxSpare is how much memory of a file that is closed is kept for the next,
// bytes: what small transactions need, for connections may be many.
const maxSpare = 64 << 10

// spare returns the file's memory for another one, if that is worth it. The file
// is to be closed next.
func (f *tempFile) spare() []byte {
	if cap(f.mem) > maxSpare {
		return nil
	}
	return f.mem[:0]
}

func (f *tempFile) spill() error {
	dir, err := tempFolder()
	if err != nil {
		return err
	}
	disk, err := os.CreateTemp(dir, "litestream-*.tmp")
	if err != nil {
		return fmt.Errorf("create temp file: %w", err)
	}
	path := ""
	if err := os.Remove(disk.Name()); err != nil {
		path = disk.Name()
	}
	if _, err := disk.WriteAt(f.mem, 0); err != nil {
		_ = closeTemp(disk, path)
		return fmt.Errorf("write temp file: %w", err)
	}
	f.disk, f.path, f.mem = disk, path, nil
	return nil
}

func closeTemp(disk *os.File, path string) error {
	err := disk.Close()
	if path != "" {
		_ = os.Remove(path)
	}
	return err
}

func (f *tempFile) Truncate(size int64) error {
	switch {
	case size < 0:
		return sqlite3vfs.IOError
	case f.disk != nil:
		if err := f.disk.Truncate(size); err != nil {
			return sqlite3vfs.IOError
		}
	case size <= int64(len(f.mem)):
		clear(f.mem[size:])
		f.mem = f.mem[:size]
	case size <= tempSpill:
		f.growTo(size)
	default:
		if err := f.spill(); err != nil {
			return sqlite3vfs.IOError
		}
		return f.Truncate(size)
	}
	return nil
}

func (f *tempFile) FileSize() (int64, error) {
	if f.disk == nil {
		return int64(len(f.mem)), nil
	}
	info, err := f.disk.Stat()
	if err != nil {
		return 0, sqlite3vfs.IOError
	}
	return info.Size(), nil
}

func (f *tempFile) Close() error {
	f.mem = nil
	if f.disk == nil {
		return nil
	}
	err := closeTemp(f.disk, f.path)
	f.disk = nil
	if err != nil {
		return sqlite3vfs.IOError
	}
	return nil
}

// Nobody else sees the file, and it need not outlive the process.

func (f *tempFile) Sync(sqlite3vfs.SyncType) error   { return nil }
func (f *tempFile) Lock(sqlite3vfs.LockType) error   { return nil }
func (f *tempFile) Unlock(sqlite3vfs.LockType) error { return nil }
func (f *tempFile) CheckReservedLock() (bool, error) { return false, nil }
func (f *tempFile) SectorSize() int64                { return 0 }
func (f *tempFile) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return sqlite3vfs.IocapPowersafeOverwrite
}
