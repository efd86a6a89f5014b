package superjournal_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/superjournal"
)

// TestSet checks which super-journals exist, and which journals they may name.
func TestSet(t *testing.T) {
	dir := t.TempDir()
	replica, local := filepath.Join(dir, "a.db-journal"), filepath.Join(dir, "b.db-journal")
	set := superjournal.NewSet(func() *slog.Logger { return slog.New(slog.DiscardHandler) }, func(journal string) bool { return journal == replica })
	name := filepath.Join(dir, "a.db-mj123456789")
	if set.Exists(name) {
		t.Error("a super-journal exists before it is opened")
	}
	f := set.Open(name)
	if !set.Exists(name) || set.Exists(replica) {
		t.Error("only the super-journal exists")
	}
	if n, err := f.WriteAt([]byte(replica+"\x00"), 0); err != nil || n != len(replica)+1 {
		t.Errorf("the journal of a replica: %d bytes, %v", n, err)
	}
	if _, err := f.WriteAt([]byte(replica+"\x00"+local+"\x00"), 0); err == nil {
		t.Error("a local file takes part in a transaction")
	}
	if err := os.WriteFile(replica, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(replica+"\x00"), 0); err == nil {
		t.Error("a local file with the name of a replica takes part in a transaction")
	}
	set.Delete(name)
	if set.Exists(name) {
		t.Error("a super-journal exists after it was deleted")
	}
	// One of a main database that is a plain file.
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if !set.Exists(name) {
		t.Error("a super-journal on disk does not exist")
	}
	// A file beside a replica, in a folder whose name contains that of super-journals.
	folder := filepath.Join(dir, "user-mjones")
	wal := filepath.Join(folder, "a.db-wal")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(wal, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if set.Exists(wal) {
		t.Error("the WAL of another database exists")
	}
}

// TestSet_OpenAgain opens a super-journal as SQLite does with each database that it rolls
// back. SQLite must not delete it, as it does after it has read all of it.
func TestSet_OpenAgain(t *testing.T) {
	set := superjournal.NewSet(func() *slog.Logger { return slog.New(slog.DiscardHandler) }, func(string) bool { return true })
	name := filepath.Join(t.TempDir(), "a.db-mj123456789")
	first := set.Open(name)
	if _, err := first.WriteAt([]byte(name+"-journal\x00"), 0); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		f := set.Open(name)
		size, err := f.FileSize()
		if size != 0 || err != nil {
			t.Errorf("the size is %d, %v", size, err)
		}
		if n, err := f.ReadAt(make([]byte, size), 0); n != 0 || err != io.EOF {
			t.Errorf("a read of all of it: %d bytes, %v, want io.EOF", n, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if !set.Exists(name) {
			t.Error("the super-journal is gone before it is deleted")
		}
	}
}
