//go:build cgo

package osvfs_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream/internal/osvfs"
	_ "github.com/mattn/go-sqlite3" // provides the SQLite that the package uses
	"github.com/psanford/sqlite3vfs"
)

const create = sqlite3vfs.OpenMainDB | sqlite3vfs.OpenReadWrite | sqlite3vfs.OpenCreate

func open(t *testing.T, set *osvfs.Set, name string, flags sqlite3vfs.OpenFlag) sqlite3vfs.File {
	t.Helper()
	f, _, err := set.Open(name, nil, flags)
	if err != nil {
		t.Fatalf("open %s: %v", name, err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// plain opens a database with SQLite's own VFS and creates a table with one
// row.
func plain(t *testing.T, path string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	exec(t, conn, "PRAGMA busy_timeout = 0; CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (1)")
	return conn
}

func exec(t *testing.T, conn *sql.Conn, query string) {
	t.Helper()
	if _, err := conn.ExecContext(context.Background(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func TestFile(t *testing.T) {
	set := osvfs.NewSet()
	path := filepath.Join(t.TempDir(), "a.db")
	f := open(t, set, path, create)
	content := bytes.Repeat([]byte("0123456789abcdef"), 64)
	if n, err := f.WriteAt(content, 100); n != len(content) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	if size, err := f.FileSize(); size != 1124 || err != nil {
		t.Errorf("size is %d, %v", size, err)
	}
	if err := f.Sync(sqlite3vfs.SyncNormal); err != nil {
		t.Errorf("sync: %v", err)
	}
	want := append(make([]byte, 100), content...)
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
		t.Errorf("file holds %d bytes, %v", len(b), err)
	}
	for _, c := range []struct {
		off  int64
		size int
		n    int
		err  error
	}{{0, 1124, 1124, nil}, {100, 1024, 1024, nil}, {1000, 124, 124, nil}, {1000, 125, 124, io.EOF}, {1124, 10, 0, io.EOF}, {5000, 10, 0, io.EOF}, {0, 0, 0, nil}} {
		p := make([]byte, c.size)
		n, err := f.ReadAt(p, c.off)
		if n != c.n || err != c.err {
			t.Errorf("read %d bytes at %d: %d, %v, want %d, %v", c.size, c.off, n, err, c.n, c.err)
		}
		if n > 0 && !bytes.Equal(p[:n], want[c.off:c.off+int64(n)]) {
			t.Errorf("read %d bytes at %d: wrong bytes", c.size, c.off)
		}
	}
	if err := f.Truncate(200); err != nil {
		t.Errorf("truncate: %v", err)
	}
	if size, err := f.FileSize(); size != 200 || err != nil {
		t.Errorf("size is %d, %v", size, err)
	}
	if f.SectorSize() < 512 {
		t.Errorf("sector size is %d", f.SectorSize())
	}
}

// TestFile_CheckReservedLock expects no where there is a reserved lock, and yes
// where there is none, because sqlite3vfs inverts the answer. If SQLite got the
// wrong answer, it would play back the journal of a running transaction.
func TestFile_CheckReservedLock(t *testing.T) {
	set := osvfs.NewSet()
	path := filepath.Join(t.TempDir(), "a.db")
	other := plain(t, path)
	f := open(t, set, path, create)
	check := func(what string, reserved bool) {
		t.Helper()
		if got, err := f.CheckReservedLock(); err != nil || got == reserved {
			t.Errorf("%s: %v, %v, want %v", what, got, err, !reserved)
		}
	}
	check("nobody writes", false)
	exec(t, other, "BEGIN IMMEDIATE")
	check("the other is in a write transaction", true)
	if err := f.Lock(sqlite3vfs.LockShared); err != nil {
		t.Errorf("shared lock beside a reserved one: %v", err)
	}
	if err := f.Lock(sqlite3vfs.LockReserved); err != sqlite3vfs.BusyError {
		t.Errorf("second reserved lock: %v, want busy", err)
	}
	exec(t, other, "ROLLBACK")
	check("the other has rolled back", false)
	if err := f.Lock(sqlite3vfs.LockReserved); err != nil {
		t.Errorf("reserved lock: %v", err)
	}
	check("we hold it", true)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err == nil {
		t.Error("the other gets a second reserved lock")
	}
	if err := f.Unlock(sqlite3vfs.LockNone); err != nil {
		t.Errorf("unlock: %v", err)
	}
	exec(t, other, "BEGIN EXCLUSIVE")
	if err := f.Lock(sqlite3vfs.LockShared); err != sqlite3vfs.BusyError {
		t.Errorf("shared lock beside an exclusive one: %v, want busy", err)
	}
	exec(t, other, "COMMIT")
}

// TestSet checks that a set knows databases and their companions, and nothing
// else.
func TestSet(t *testing.T) {
	set := osvfs.NewSet()
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a.db", "a.db-journal", "x", ""} {
		if set.Has(name) {
			t.Errorf("empty set has %q", name)
		}
	}
	open(t, set, "a.db", create)
	open(t, set, "with-dash", create)
	for name, want := range map[string]bool{
		"a.db": true, "a.db-journal": true, "a.db-wal": true, "a.db-mj123456789": true, "with-dash": true, "with-dash-journal": true,
		"a.db-copy": false, "a.db-copy-journal": false, "with-dash-2-journal": false, "with-dash-2-mj123456789": false, "a.db-journal-journal": false,
		"a": false, "a.dbx": false, "b.db": false, "b.db-journal": false, "with": false, "with-": false, "-journal": false, "": false,
	} {
		if set.Has(name) != want {
			t.Errorf("has %q: %v", name, !want)
		}
	}

	// A companion stays beside its database when the working directory changes.
	t.Chdir(t.TempDir())
	journal := open(t, set, "a.db-journal", sqlite3vfs.OpenMainJournal|sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate)
	if _, err := journal.WriteAt([]byte("journal"), 0); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.db-journal")
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	for range 2 {
		if ok, err := set.Access("a.db-journal", sqlite3vfs.AccessExists); !ok || err != nil {
			t.Errorf("access: %v, %v", ok, err)
		}
	}
	if err := set.Delete("a.db-journal", true); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("after delete: %v", err)
	}
	if ok, err := set.Access("a.db-journal", sqlite3vfs.AccessExists); ok || err != nil {
		t.Errorf("access after delete: %v, %v", ok, err)
	}
	if err := set.Delete("a.db-journal", false); err != nil {
		t.Errorf("delete what is not there: %v", err)
	}
	if err := set.Delete("other.db", false); err == nil {
		t.Error("deletes what is not its own")
	}
	if ok, _ := set.Access("other.db", sqlite3vfs.AccessExists); ok {
		t.Error("has what is not its own")
	}
}

// TestSet_Links opens a file behind links. The file is used by its own name, as
// in SQLite.
func TestSet_Links(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("real.db", filepath.Join(dir, "link.db")); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink("loop.db", filepath.Join(dir, "loop.db")); err != nil {
		t.Fatal(err)
	}
	set := osvfs.NewSet()
	link := filepath.Join(dir, "link.db")
	if _, _, err := set.Open(link, nil, create|sqlite3vfs.OpenNoFollow); err != sqlite3vfs.CantOpenError {
		t.Errorf("open a link where none is allowed: %v", err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "folder")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := set.Open(filepath.Join(dir, "folder", "a.db"), nil, create|sqlite3vfs.OpenNoFollow); err != sqlite3vfs.CantOpenError {
		t.Errorf("open a file in a linked folder where no link is allowed: %v", err)
	}
	if _, _, err := set.Open(filepath.Join(dir, "loop.db"), nil, create); err != sqlite3vfs.CantOpenError {
		t.Errorf("open a link to itself: %v", err)
	}
	open(t, set, link, create)
	open(t, set, link+"-journal", sqlite3vfs.OpenMainJournal|sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate)
	for _, name := range []string{"real.db", "real.db-journal"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestSet_NameLikeCompanion opens a database whose name starts with that of
// another one, as the name of a companion does. The other name is a link. The
// database lies beside the link, not beside the link's target.
func TestSet_NameLikeCompanion(t *testing.T) {
	dir := t.TempDir()
	link, other := filepath.Join(dir, "a.db"), filepath.Join(dir, "a.db-2024")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "sub", "real.db"), link); err != nil {
		t.Skip(err)
	}
	set := osvfs.NewSet()
	open(t, set, link, create)
	open(t, set, other, create)
	open(t, set, other+"-journal", sqlite3vfs.OpenMainJournal|sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate)
	for _, name := range []string{"sub/real.db", "a.db-2024", "a.db-2024-journal"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "sub")); err != nil || len(entries) != 1 {
		t.Errorf("beside what the link leads to: %v, %v", entries, err)
	}
}

// TestSet_OtherFolder opens one relative name in two working directories. These
// are two databases.
func TestSet_OtherFolder(t *testing.T) {
	set := osvfs.NewSet()
	for range 2 {
		dir := t.TempDir()
		t.Chdir(dir)
		f, _, err := set.Open("a.db", nil, create)
		if err != nil {
			t.Fatal(err)
		}
		if size, err := f.FileSize(); size != 0 || err != nil {
			t.Errorf("the new file has %d bytes, %v", size, err)
		}
		if _, err := f.WriteAt([]byte("mine"), 0); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "a.db")); string(b) != "mine" {
			t.Errorf("the file in this folder holds %q, %v", b, err)
		}
	}
}

// TestSet_OpenErrors checks that errors keep SQLite's codes and that no file
// stays open.
func TestSet_OpenErrors(t *testing.T) {
	set := osvfs.NewSet()
	dir := t.TempDir()
	before := openFiles(t)
	for _, name := range []string{dir, filepath.Join(dir, "no", "a.db")} {
		if _, _, err := set.Open(name, nil, create); err != sqlite3vfs.CantOpenError {
			t.Errorf("open %s: %v, want can't open", name, err)
		}
	}
	if _, _, err := set.Open(filepath.Join(dir, "a.db"), nil, sqlite3vfs.OpenMainDB|sqlite3vfs.OpenReadWrite); err != sqlite3vfs.CantOpenError {
		t.Errorf("open a missing file: %v, want can't open", err)
	}
	f, _, err := set.Open(filepath.Join(dir, "a.db"), map[string]string{"nolock": "0", "x": ""}, create)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	ro, out, err := set.Open(filepath.Join(dir, "a.db"), nil, sqlite3vfs.OpenMainDB|sqlite3vfs.OpenReadOnly)
	if err != nil || out&sqlite3vfs.OpenReadOnly == 0 {
		t.Fatalf("open read-only: flags %x, %v", out, err)
	}
	if _, err := ro.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a read-only file can be written")
	}
	if err := ro.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files open, %d before", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // this system does not list open files
	}
	return len(entries)
}

func TestSet_Concurrent(t *testing.T) {
	set := osvfs.NewSet()
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 20 {
				name := filepath.Join(dir, fmt.Sprintf("%d.db", (i+k)%4))
				f, _, err := set.Open(name, map[string]string{"k": fmt.Sprint(k)}, create)
				if err != nil {
					t.Error(err)
					return
				}
				set.Has(name + "-journal")
				if _, err := set.Access(name+"-journal", sqlite3vfs.AccessExists); err != nil {
					t.Error(err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
