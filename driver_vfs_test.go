//go:build cgo

package litestream

import (
	"bytes"
	"io/fs"
	"log/slog"
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

// TestDriver_FailedFile opens a database that cannot be opened. Each call of the file
// that stands for it fails with the code of an open that failed, so that SQLite gives
// up at the first of them, whichever that is. It can be unlocked and closed.
func TestDriver_FailedFile(t *testing.T) {
	vfs := newTestVFS(t, nil)
	f, _, err := vfs.Open("app.db", sqlite3vfs.OpenMainDB|sqlite3vfs.OpenReadWrite)
	if failed, ok := f.(failedFile); err != nil || !ok || failed.OpenError() == nil {
		t.Fatalf("without a replica client the file is a %T, %v", f, err)
	}
	for call, do := range map[string]func() error{
		"ReadAt":   func() error { _, err := f.ReadAt(make([]byte, 100), 0); return err },
		"WriteAt":  func() error { _, err := f.WriteAt(make([]byte, 100), 0); return err },
		"Truncate": func() error { return f.Truncate(0) },
		"Sync":     func() error { return f.Sync(0) },
		"FileSize": func() error { _, err := f.FileSize(); return err },
		"Lock":     func() error { return f.Lock(sqlite3vfs.LockShared) },
		"CheckReservedLock": func() error {
			reserved, err := f.CheckReservedLock()
			if reserved {
				t.Error("the file has a reserved lock")
			}
			return err
		},
	} {
		if err := do(); err != sqlite3vfs.CantOpenError {
			t.Errorf("%s: %v", call, err)
		}
	}
	if err := f.Unlock(sqlite3vfs.LockNone); err != nil {
		t.Errorf("unlock: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// brokenFile is the content of a companion that fails.
type brokenFile struct{}

func (brokenFile) ReadAt([]byte, int64) (int, error)  { return 0, fs.ErrPermission }
func (brokenFile) WriteAt([]byte, int64) (int, error) { return 0, fs.ErrPermission }
func (brokenFile) Truncate(int64) error               { return fs.ErrPermission }
func (brokenFile) FileSize() (int64, error)           { return 0, fs.ErrPermission }
func (brokenFile) Close() error                       { return fs.ErrPermission }

// TestDriver_CompanionFails has each call of a journal or temporary file fail. SQLite
// learns of it: it must not take a journal for written that is not.
func TestDriver_CompanionFails(t *testing.T) {
	f := companion{brokenFile{}, slog.New(slog.DiscardHandler)}
	for call, do := range map[string]func() error{
		"ReadAt":   func() error { _, err := f.ReadAt(make([]byte, 100), 0); return err },
		"WriteAt":  func() error { _, err := f.WriteAt(make([]byte, 100), 0); return err },
		"Truncate": func() error { return f.Truncate(0) },
		"FileSize": func() error { _, err := f.FileSize(); return err },
		"Close":    func() error { return f.Close() },
	} {
		if err := do(); err != sqlite3vfs.IOErrorRead {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// TestDriver_NoName opens files without a name. They are temporary, whatever their
// flags say: each is empty and keeps what is written to it, and none is the replica.
func TestDriver_NoName(t *testing.T) {
	vfs := newTestVFS(t, fourPages(t))
	for _, flags := range []sqlite3vfs.OpenFlag{
		sqlite3vfs.OpenMainDB, sqlite3vfs.OpenMainJournal, sqlite3vfs.OpenTempDB, sqlite3vfs.OpenTempJournal,
		sqlite3vfs.OpenTransientDB, sqlite3vfs.OpenSubJournal, sqlite3vfs.OpenSuperJournal, sqlite3vfs.OpenWAL,
	} {
		f, _, err := vfs.Open("", flags|sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate)
		if err != nil {
			t.Fatal(err)
		}
		if size, err := f.FileSize(); size != 0 || err != nil {
			t.Errorf("flags %x: %d bytes at first, %v", flags, size, err)
		}
		want, got := []byte("some bytes"), make([]byte, 10)
		if _, err := f.WriteAt(want, 3); err != nil {
			t.Errorf("flags %x: %v", flags, err)
		}
		if _, err := f.ReadAt(got, 3); err != nil || !bytes.Equal(got, want) {
			t.Errorf("flags %x: reads %q, %v", flags, got, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(vfs.Stats()); n != 0 {
		t.Errorf("%d databases are open", n)
	}
}
