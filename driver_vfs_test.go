//go:build cgo

package litestream

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/osvfs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/tempfile"
	"github.com/ltxvfs/litestream/internal/write"
	"github.com/psanford/sqlite3vfs"
)

// TestDriver_TempDirectory checks that temporary files are created in the
// directory that the program sets in SQLite.
func TestDriver_TempDirectory(t *testing.T) {
	dir := t.TempDir()
	defer osvfs.SetTempDirectory(dir)()
	if got := tempfile.Folders()[0]; got != dir {
		t.Errorf("the first folder is %q, want %q", got, dir)
	}
}

// TestDriver_Errors checks that each code is one of the exported errors of
// sqlite3vfs, which loses the code of any other error.
func TestDriver_Errors(t *testing.T) {
	for err, want := range map[error]error{
		nil:              nil,
		write.ErrBusy:    sqlite3vfs.BusyError,
		ErrReadOnly:      sqlite3vfs.ReadOnlyError,
		ErrCorrupt:       sqlite3vfs.CorruptError,
		ErrInTransaction: sqlite3vfs.GenericError,
		errUnknownPragma: sqlite3vfs.NotFoundError,
		task.ErrPanic:    sqlite3vfs.IOError,
		ErrNoDatabase:    sqlite3vfs.IOErrorRead,
	} {
		if got := driverError(err); got != want {
			t.Errorf("%v is %v, want %v", err, got, want)
		}
	}
}

// TestDriver_ReadOnly checks that the flags tell SQLite not to try to write.
func TestDriver_ReadOnly(t *testing.T) {
	vfs, _, _ := newWriters(t, 1)
	f, out, err := vfs.OpenURI("app.db", nil, sqlite3vfs.OpenMainDB|sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate)
	if err != nil || out&sqlite3vfs.OpenReadOnly != 0 {
		t.Errorf("with write mode the flags are %x, %v", out, err)
	}
	_ = f.Close()
	reader := newTestVFS(t, storeImage(t, append(header(1, 1), make([]byte, 412)...), 512))
	f, out, err = reader.OpenURI("app.db", nil, sqlite3vfs.OpenMainDB|sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate)
	if err != nil || out&sqlite3vfs.OpenReadOnly == 0 || out&sqlite3vfs.OpenReadWrite != 0 {
		t.Errorf("flags are %x, %v", out, err)
	}
	_ = f.Close()
}
