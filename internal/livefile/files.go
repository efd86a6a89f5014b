package livefile

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3/vfs"
)

// files are SQLite's VFS for the files of one connection. It passes everything to the
// VFS of the system, and keeps the open files.
type files struct {
	vfs.VFSFilename
	name string // of the VFS

	main, wal vfs.File // nil until SQLite opens them; SQLite closes them
}

// registered is the number of names that were given.
var registered atomic.Int64

func newFiles() *files {
	f := &files{VFSFilename: vfs.Find("os").(vfs.VFSFilename), name: fmt.Sprintf("ltxvfs-livefile-%d", registered.Add(1))}
	vfs.Register(f.name, f)
	return f
}

func (f *files) unregister() { vfs.Unregister(f.name) }

// OpenFilename implements vfs.VFSFilename.
func (f *files) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	file, out, err := f.VFSFilename.OpenFilename(name, flags)
	if err == nil {
		switch {
		case flags&vfs.OPEN_MAIN_DB != 0:
			f.main = file
		case flags&vfs.OPEN_WAL != 0:
			f.wal = file
		}
	}
	return file, out, err
}

// readFull is io.ReaderAt.ReadAt for bytes that have to exist.
func readFull(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}
