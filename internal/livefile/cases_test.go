package livefile

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// openConn opens a connection in this process, by the driver that File uses: another
// driver would lose its locks when that one closes a file.
func openConn(t testing.TB, path string, statements ...string) *sqlite3.Conn {
	t.Helper()
	conn, err := sqlite3.Open("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	execSQL(t, conn, statements...)
	return conn
}

func execSQL(t testing.TB, conn *sqlite3.Conn, statements ...string) {
	t.Helper()
	for _, stmt := range statements {
		if err := conn.Exec(stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
}

// openFile opens a database until the test ends.
func openFile(t testing.TB, path string, opts Options) *File {
	t.Helper()
	f, err := Open(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// readAll returns all pages from first on.
func readAll(t testing.TB, f *File, first uint32) []byte {
	t.Helper()
	b := make([]byte, (f.Pages()+1-first)*f.PageSize())
	if err := f.ReadPages(t.Context(), first, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// checkImage checks that a database is one that a writer has committed, with so many
// commits.
func checkImage(t testing.TB, image []byte, commits string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkDatabase(path); err != nil {
		t.Fatal(err)
	}
	conn := openConn(t, path)
	stmt, _, err := conn.Prepare("SELECT commits FROM total")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	if !stmt.Step() || stmt.ColumnText(0) != commits {
		t.Errorf("the state has %s commits, want %s", stmt.ColumnText(0), commits)
	}
}

// copyFiles copies the files of a database, as a crash leaves them.
func copyFiles(t testing.TB, path string, suffixes ...string) (copied string) {
	t.Helper()
	copied = filepath.Join(t.TempDir(), "copied.db")
	for _, suffix := range suffixes {
		b, err := os.ReadFile(path + suffix)
		if err == nil {
			err = os.WriteFile(copied+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// hasEnded reports whether the transaction of a file was ended early.
func (f *File) hasEnded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live == nil
}

// until waits for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// leavesNoFiles verifies that the folder for temporary files is empty in the end.
func leavesNoFiles(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left %v, error %v", left, err)
		}
	})
}

const change = "BEGIN; UPDATE t SET n = n + 1; DELETE FROM t WHERE id > 120; " + keepTotal + "; COMMIT"

// A program that writes with a rollback journal waits until the rest is copied, and
// then commits.
func TestFile_RollbackJournal(t *testing.T) {
	if !seesWriters {
		t.Skip("on this system a database with a rollback journal is copied first, which cmd/ltxvfs tests")
	}
	leavesNoFiles(t)
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path)
	writer := openConn(t, path, "PRAGMA busy_timeout = 60000")
	f := openFile(t, path, Options{})
	begin := make([]byte, 2*f.PageSize())
	if err := f.ReadPages(t.Context(), 1, begin); err != nil {
		t.Fatal(err)
	}
	if f.hasEnded() {
		t.Error("the transaction has ended, and nobody writes")
	}
	execSQL(t, writer, change)
	if !f.hasEnded() {
		t.Error("a program has committed during the transaction")
	}
	checkImage(t, append(begin, readAll(t, f, 3)...), "1")
}

// Without room for a copy, the transaction lasts, and the program that wants to write
// gets what its busy timeout says.
func TestFile_NoRoom(t *testing.T) {
	if !seesWriters {
		t.Skip("on this system a database with a rollback journal is copied first, which cmd/ltxvfs tests")
	}
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path)
	writer := openConn(t, path)
	missing := filepath.Join(t.TempDir(), "missing")
	t.Setenv("TMPDIR", missing)
	t.Setenv("TMP", missing)
	f := openFile(t, path, Options{})
	execSQL(t, writer, "BEGIN IMMEDIATE", keepTotal)
	<-f.watcher.done
	if err := writer.Exec("COMMIT"); !errors.Is(err, sqlite3.BUSY) {
		t.Errorf("commit: %v, want SQLITE_BUSY", err)
	}
	execSQL(t, writer, "ROLLBACK")
	checkImage(t, readAll(t, f, 1), "1")
}

// In WAL mode programs write on, until the WAL has grown by more than what is left.
func TestFile_WAL(t *testing.T) {
	leavesNoFiles(t)
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path, "PRAGMA journal_mode = WAL")
	writer := openConn(t, path, "PRAGMA wal_autocheckpoint = 5", change)
	f := openFile(t, path, Options{})
	begin := make([]byte, 2*f.PageSize())
	if err := f.ReadPages(t.Context(), 1, begin); err != nil {
		t.Fatal(err)
	}
	execSQL(t, writer, "INSERT INTO t (x, n) VALUES (randomblob(5000), 1)", "PRAGMA wal_checkpoint(TRUNCATE)")
	if f.hasEnded() {
		t.Error("the transaction has ended at once")
	}
	until(t, "the transaction ends as the WAL grows", func() bool {
		execSQL(t, writer, "UPDATE t SET x = randomblob(900)")
		return f.hasEnded()
	})
	execSQL(t, writer, "PRAGMA wal_checkpoint(TRUNCATE)")
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() != 0 {
		t.Errorf("the WAL cannot be truncated after the transaction: %v, %v", info.Size(), err)
	}
	checkImage(t, append(begin, readAll(t, f, 3)...), "2")
}

// Pages that are read again are those of the same state as long as the transaction lasts,
// and those of the newest one if the transaction has ended meanwhile.
func TestFile_Restart(t *testing.T) {
	const grow = "BEGIN; INSERT INTO t (x, n) VALUES (randomblob(50000), 1); " + keepTotal + "; COMMIT"
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "DELETE" && !seesWriters {
				t.Skip("on this system a database with a rollback journal is copied first")
			}
			leavesNoFiles(t)
			path := filepath.Join(t.TempDir(), "app.db")
			newDatabase(t, path, "PRAGMA journal_mode = "+mode)
			writer := openConn(t, path, "PRAGMA busy_timeout = 60000")
			f := openFile(t, path, Options{})
			pages := f.Pages()
			checkImage(t, readAll(t, f, 1), "1")
			if err := f.Restart(t.Context()); err != nil || f.hasEnded() {
				t.Fatalf("the transaction has ended %t, error %v", f.hasEnded(), err)
			}
			execSQL(t, writer, grow)
			if f.Pages() != pages {
				t.Errorf("%d pages, want %d", f.Pages(), pages)
			}
			checkImage(t, readAll(t, f, 1), "1")
			until(t, "the transaction ends when nothing is left to be read", f.hasEnded)
			if err := f.Restart(t.Context()); err != nil || f.Pages() <= pages {
				t.Fatalf("%d pages, want more than %d, error %v", f.Pages(), pages, err)
			}
			checkImage(t, readAll(t, f, 1), "2")
		})
	}
	t.Run("copy", func(t *testing.T) {
		leavesNoFiles(t)
		path := filepath.Join(t.TempDir(), "app.db")
		newDatabase(t, path)
		f := openFile(t, path, Options{Copy: true})
		checkImage(t, readAll(t, f, 1), "1")
		openConn(t, path, grow)
		if err := f.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkImage(t, readAll(t, f, 1), "1")
	})
}

// A File that is closed while it copies leaves no file.
func TestFile_CloseEarly(t *testing.T) {
	leavesNoFiles(t)
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path, "PRAGMA journal_mode = WAL")
	f, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.detach(ctx)
	if f.hasEnded() {
		t.Error("the copy was made")
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := f.ReadPages(t.Context(), 1, make([]byte, f.PageSize())); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	if err := f.Restart(t.Context()); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("restart after close: %v", err)
	}
}

// What a crash leaves is recovered, as by any program that opens the database.
func TestFile_Crashed(t *testing.T) {
	leavesNoFiles(t)
	dir := t.TempDir()
	hot, wal := filepath.Join(dir, "hot.db"), filepath.Join(dir, "wal.db")
	newDatabase(t, hot)
	before, err := os.ReadFile(hot)
	if err != nil {
		t.Fatal(err)
	}
	writer := openConn(t, hot, "PRAGMA cache_size = 1", "PRAGMA cache_spill = 1", "BEGIN", "UPDATE t SET x = randomblob(1500), n = 1")
	copied := copyFiles(t, hot, "", "-journal")
	execSQL(t, writer, "ROLLBACK")
	if b, err := os.ReadFile(copied); err != nil || bytes.Equal(b, before) {
		t.Fatalf("no part of the transaction is in the file, error %v", err)
	}
	checkImage(t, readAll(t, openFile(t, copied, Options{}), 1), "1")

	newDatabase(t, wal, "PRAGMA journal_mode = WAL")
	openConn(t, wal, "PRAGMA wal_autocheckpoint = 0", change)
	checkImage(t, readAll(t, openFile(t, copyFiles(t, wal, "", "-wal"), Options{}), 1), "2")
	checkImage(t, readAll(t, openFile(t, copyFiles(t, wal, "", "-wal", "-shm"), Options{}), 1), "2")
	f := openFile(t, copyFiles(t, wal, "", "-wal", "-shm"), Options{Copy: true})
	if f.watcher != nil {
		t.Error("no copy was made")
	}
	checkImage(t, readAll(t, f, 1), "2")
}

// A WAL that SQLite reads and that has a wrong checksum is left to SQLite.
func TestFile_WrongWAL(t *testing.T) {
	leavesNoFiles(t)
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path, "PRAGMA journal_mode = WAL")
	openConn(t, path, "PRAGMA wal_autocheckpoint = 0", change)
	wal, err := os.OpenFile(path+"-wal", os.O_RDWR, 0)
	if err == nil {
		_, err = wal.WriteAt([]byte{1, 2, 3, 4}, walOffset(1, 4096)+16)
		err = errors.Join(err, wal.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, Options{})
	if f.watcher != nil {
		t.Error("the WAL was read in spite of its checksum")
	}
	checkImage(t, readAll(t, f, 1), "2")
}

// What cannot be read is an error of SQLite, and leaves no file.
func TestFile_Errors(t *testing.T) {
	leavesNoFiles(t)
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	locked, exclusive, cut := filepath.Join(dir, "locked.db"), filepath.Join(dir, "exclusive.db"), filepath.Join(dir, "cut.db")
	for _, path := range []string{locked, exclusive, cut} {
		newDatabase(t, path)
	}
	openConn(t, locked, "BEGIN EXCLUSIVE")
	openConn(t, exclusive, "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL", change)
	if err := os.Truncate(cut, 20_000); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want error
	}{
		{filepath.Join(dir, "missing.db"), sqlite3.CANTOPEN},
		{file("text.db", bytes.Repeat([]byte("no database "), 100)), sqlite3.NOTADB},
		{file("encrypted.db", bytes.Repeat([]byte{0x5c, 0x21, 0x99, 0x03}, 4096)), sqlite3.NOTADB},
		{locked, sqlite3.BUSY},
		{exclusive, sqlite3.BUSY},
		{cut, sqlite3.CORRUPT},
	} {
		for _, copyFirst := range []bool{false, true} {
			if f, err := Open(t.Context(), tt.path, Options{Copy: copyFirst}); !errors.Is(err, tt.want) {
				t.Errorf("%s, copy %t: %v, %v, want %v", filepath.Base(tt.path), copyFirst, f, err, tt.want)
			}
		}
	}
	for _, copyFirst := range []bool{false, true} {
		// SQLite's copy of a database without pages has the one that the first table needs.
		if f := openFile(t, file("empty.db", nil), Options{Copy: copyFirst}); f.Pages() != 1 {
			t.Errorf("an empty file has %d pages", f.Pages())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	newDatabase(t, filepath.Join(dir, "fine.db"))
	if _, err := Open(ctx, filepath.Join(dir, "fine.db"), Options{}); err == nil {
		t.Error("a context that is done does not end Open")
	}
}

// In WAL mode, SQLite does not notice that the database file ends too early.
func TestFile_CutWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path, "PRAGMA journal_mode = WAL")
	openConn(t, path, "PRAGMA wal_autocheckpoint = 0", "UPDATE total SET commits = 7")
	if err := os.Truncate(path, 5*4096+100); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, Options{})
	if err := f.ReadPages(t.Context(), 1, make([]byte, f.Pages()*f.PageSize())); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v, want io.ErrUnexpectedEOF", err)
	}
}

// The copy does without the page that SQLite locks, also where it is the last one.
func TestFile_LockPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	newDatabase(t, path, "PRAGMA page_size = 65536")
	lock := lockPage(65536)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, pages := range []uint32{lock - 1, lock, lock + 2} {
		// The file is longer than the pages that SQLite knows of, which the header has.
		_, err := file.WriteAt([]byte{byte(pages >> 24), byte(pages >> 16), byte(pages >> 8), byte(pages)}, 28)
		if err = errors.Join(err, file.Truncate(int64(pages)*65536)); err != nil {
			t.Fatal(err)
		}
		f := openFile(t, path, Options{})
		if f.Pages() != pages {
			t.Fatalf("%d pages, want %d", f.Pages(), pages)
		}
		if err := f.ReadPages(t.Context(), lock-3, make([]byte, 65536)); err != nil {
			t.Fatal(err)
		}
		var copied offsets
		if err := f.copyPages(t.Context(), &copied); err != nil {
			t.Fatal(err)
		}
		want := offsets{{int64(lock-3) * 65536, 2 * 65536}}
		if pages > lock {
			want = append(want, [2]int64{int64(lock) * 65536, 2 * 65536})
		}
		if !slices.Equal(copied, want) {
			t.Errorf("%d pages: copied %v, want %v", pages, copied, want)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// offsets are the offsets and lengths of writes.
type offsets [][2]int64

func (o *offsets) WriteAt(p []byte, offset int64) (int, error) {
	*o = append(*o, [2]int64{offset, int64(len(p))})
	return len(p), nil
}
