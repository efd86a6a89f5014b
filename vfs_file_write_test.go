package litestream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/memory"
)

// newWriters returns two connections of a writable database of n pages. Page k
// is filled with the byte k.
func newWriters(t *testing.T, n int) (vfs *VFS, c, other *Conn) {
	t.Helper()
	var image []byte
	for k := range n {
		image = append(image, bytes.Repeat([]byte{byte(k + 1)}, 512)...)
	}
	vfs = newTestVFS(t, storeImage(t, append(header(1, n), image[dbheader.Size:]...), 512))
	vfs.WriteEnabled, vfs.WriteSyncInterval = true, -1
	return vfs, openFile(t, vfs, "app.db"), openFile(t, vfs, "app.db")
}

// header returns the database header of n pages with a change counter.
func header(counter uint32, n int) []byte {
	hdr := make([]byte, dbheader.Size)
	copy(hdr, dbheader.SqliteMagic)
	binary.BigEndian.PutUint16(hdr[dbheader.OffPageSize:], 512)
	hdr[dbheader.OffWriteVersion], hdr[dbheader.OffReadVersion] = 1, 1
	binary.BigEndian.PutUint32(hdr[dbheader.OffChangeCounter:], counter)
	binary.BigEndian.PutUint32(hdr[dbheader.OffVersionValid:], counter)
	binary.BigEndian.PutUint32(hdr[dbheader.OffCommit:], uint32(n))
	return hdr
}

// begin takes the writer slot.
func begin(t *testing.T, c *Conn) {
	t.Helper()
	for _, fn := range []func() error{c.BeginRead, c.BeginWrite, c.BeginWrite} {
		if err := fn(); err != nil {
			t.Fatal(err)
		}
	}
}

// end gives the writer slot back.
func end(t *testing.T, c *Conn) {
	t.Helper()
	if err := c.EndWrite(); err != nil {
		t.Fatal(err)
	}
	c.EndRead()
}

// countUp writes page 1 with the next change counter and a size of n pages.
func countUp(t *testing.T, c *Conn, n int) {
	t.Helper()
	page := make([]byte, 512)
	if _, err := c.ReadAt(page, 0); err != nil {
		t.Fatal(err)
	}
	copy(page, header(binary.BigEndian.Uint32(page[dbheader.OffChangeCounter:])+1, n))
	if _, err := c.WriteAt(page, 0); err != nil {
		t.Fatal(err)
	}
}

func writePage(t *testing.T, c *Conn, pgno int, b byte) {
	t.Helper()
	if _, err := c.WriteAt(bytes.Repeat([]byte{b}, 512), int64(pgno-1)*512); err != nil {
		t.Fatal(err)
	}
}

// wantByte checks the content of a page, 0 for one that does not exist.
func wantByte(t *testing.T, what string, c *Conn, pgno int, want byte) {
	t.Helper()
	p := make([]byte, 1)
	if n, _ := c.ReadAt(p, int64(pgno-1)*512+200); n == 0 {
		p[0] = 0
	}
	if p[0] != want {
		t.Errorf("%s: page %d holds %d, want %d", what, pgno, p[0], want)
	}
}

// TestConn_Commit commits like drivers that pass commits on. Other connections
// see each commit, and nothing before it.
func TestConn_Commit(t *testing.T) {
	vfs, c, other := newWriters(t, 4)
	begin(t, c)
	if err := other.BeginRead(); err != nil {
		t.Fatal(err)
	}
	if err := other.BeginWrite(); CodeOf(err) != CodeBusy {
		t.Errorf("a second writer: %v, want busy", err)
	}
	other.EndRead()

	writePage(t, c, 2, 20)
	countUp(t, c, 4)
	wantByte(t, "own change", c, 2, 20)
	wantByte(t, "not sealed", other, 2, 2)
	for range 2 { // SQLite may sync twice
		if err := c.Seal(true); err != nil {
			t.Fatal(err)
		}
	}
	wantByte(t, "not committed", other, 2, 2)
	if err := other.BeginRead(); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(false); err != nil {
		t.Fatal(err)
	}
	wantByte(t, "transaction from before", other, 2, 2)
	other.EndRead()
	wantByte(t, "committed", other, 2, 20)

	// With locking_mode=EXCLUSIVE the next commit does not change the counter.
	writePage(t, c, 3, 30)
	if c.IsRolledBack() {
		t.Error("the second change is a rollback")
	}
	if err := c.Commit(true); err != nil {
		t.Fatal(err)
	}
	wantByte(t, "second commit", other, 3, 30)
	if err := c.Commit(true); err != nil { // an empty commit
		t.Fatal(err)
	}

	writePage(t, c, 3, 31)
	c.Rollback()
	wantByte(t, "rolled back", c, 3, 30)
	writePage(t, c, 3, 32)
	if err := c.Seal(true); err != nil {
		t.Fatal(err)
	}
	end(t, c)
	wantByte(t, "sealed and given up", other, 3, 30)
	if got := vfs.Stats()[0].Write.Commits; got != 2 {
		t.Errorf("%d commits, want 2", got)
	}

	begin(t, other)
	writePage(t, other, 4, 40)
	countUp(t, other, 4)
	if err := other.Commit(true); err != nil {
		t.Fatal(err)
	}
	end(t, other)
	wantByte(t, "the other's commit", c, 4, 40)
	if err := vfs.Sync(context.Background(), "app.db"); err != nil {
		t.Error(err)
	}
}

// TestConn_FailedWrite makes a write fail. Nothing of the transaction can be
// committed, and the next transaction can.
func TestConn_FailedWrite(t *testing.T) {
	_, c, other := newWriters(t, 2)
	begin(t, c)
	writePage(t, c, 2, 20)
	countUp(t, c, 2)
	if _, err := c.WriteAt(make([]byte, 100), 512); err == nil {
		t.Fatal("a part of a page was written")
	}
	writePage(t, c, 2, 21) // tries to undo the write, and is ignored
	wantByte(t, "after the failure", c, 2, 2)
	if !c.IsRolledBack() {
		t.Error("a transaction that failed can be committed")
	}
	if err := c.Seal(true); err != nil {
		t.Errorf("seal: %v", err)
	}
	if err := c.Commit(true); err == nil {
		t.Error("a transaction that failed was committed")
	}
	c.Rollback()
	writePage(t, c, 2, 22)
	countUp(t, c, 2)
	if err := c.Commit(true); err != nil {
		t.Fatal(err)
	}
	end(t, c)
	wantByte(t, "the next transaction", other, 2, 22)
}

// TestConn_TruncateAfterSeal truncates to the size that the sealed commit
// already has. That makes no second commit.
func TestConn_TruncateAfterSeal(t *testing.T) {
	vfs, c, other := newWriters(t, 5)
	begin(t, c)
	countUp(t, c, 3)
	if err := c.Seal(true); err != nil {
		t.Fatal(err)
	}
	if err := c.Truncate(3 * 512); err != nil {
		t.Fatal(err)
	}
	if n, err := c.FileSize(); n != 3*512 || err != nil {
		t.Errorf("size is %d, %v", n, err)
	}
	if err := c.Commit(false); err != nil {
		t.Fatal(err)
	}
	end(t, c)
	if n, err := other.FileSize(); n != 3*512 || err != nil {
		t.Errorf("size as committed is %d, %v", n, err)
	}
	if got := vfs.Stats()[0].Write.Commits; got != 1 {
		t.Errorf("%d commits, want 1", got)
	}
}

// TestConn_TruncateAfterCommit truncates to the size that the file already has, at the
// start of a transaction, and after a commit whose page 1 says that size, as SQLite does.
// Neither is a change.
func TestConn_TruncateAfterCommit(t *testing.T) {
	vfs, c, other := newWriters(t, 5)
	begin(t, c)
	if err := c.Truncate(5 * 512); err != nil {
		t.Errorf("at the start: %v", err)
	}
	countUp(t, c, 3)
	if err := c.Commit(false); err != nil {
		t.Fatal(err)
	}
	if err := c.Truncate(3 * 512); err != nil || c.IsResized() {
		t.Errorf("after the commit: %v, resized: %v", err, c.IsResized())
	}
	if err := c.Commit(false); err != nil {
		t.Fatal(err)
	}
	end(t, c)
	if n, err := other.FileSize(); n != 3*512 || err != nil {
		t.Errorf("size as committed is %d, %v", n, err)
	}
	if got := vfs.Stats()[0].Write.Commits; got != 1 {
		t.Errorf("%d commits, want 1", got)
	}
}

// TestConn_NewDatabaseInWALMode writes the first page of a new database with the mark of
// WAL mode. That is refused, unless the page is that of a backup, which has a schema.
func TestConn_NewDatabaseInWALMode(t *testing.T) {
	for cookie, want := range map[uint32]error{0: errNoWAL, 7: nil} {
		vfs := newTestVFS(t, memory.NewReplicaClient())
		vfs.WriteEnabled, vfs.WriteSyncInterval = true, -1
		c := openFile(t, vfs, "app.db")
		begin(t, c)
		page := make([]byte, 512)
		copy(page, header(1, 1))
		page[dbheader.OffWriteVersion], page[dbheader.OffReadVersion] = 2, 2
		binary.BigEndian.PutUint32(page[dbheader.OffSchemaCookie:], cookie)
		if _, err := c.WriteAt(page, 0); !errors.Is(err, want) {
			t.Errorf("schema cookie %d: %v, want %v", cookie, err, want)
		}
		c.Rollback()
		end(t, c)
	}
}

// TestConn_ExclusiveWAL asks for WAL mode. With locking_mode=EXCLUSIVE that is an error
// at once, before SQLite has locked anything. Otherwise SQLite finds out by itself that
// there is no such mode.
func TestConn_ExclusiveWAL(t *testing.T) {
	_, c, _ := newWriters(t, 2)
	for _, tc := range []struct {
		name, value string
		want        error
	}{
		{"journal_mode", "wal", errUnknownPragma},
		{"locking_mode", "Exclusive", errUnknownPragma},
		{"journal_mode", "WAL", errNoWAL},
		{"journal_mode", "delete", errUnknownPragma},
		{"locking_mode", "normal", errUnknownPragma},
		{"journal_mode", "wal", errUnknownPragma},
	} {
		if _, err := c.Pragma(tc.name, &tc.value); !errors.Is(err, tc.want) {
			t.Errorf("%s = %s: %v, want %v", tc.name, tc.value, err, tc.want)
		}
	}
}

// panickyLog is the handler of a program's logger that panics on errors of connections.
type panickyLog struct{ slog.Handler }

func (panickyLog) Enabled(context.Context, slog.Level) bool { return true }
func (h panickyLog) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (panickyLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasSuffix(r.Message, " failed") {
		panic("no room for the log")
	}
	return nil
}

// TestConn_Panics has the methods panic that SQLite calls. They return an error, as no
// panic may cross into C.
func TestConn_Panics(t *testing.T) {
	vfs := newTestVFS(t, fourPages(t))
	vfs.Logger = slog.New(panickyLog{slog.DiscardHandler})
	c := openFile(t, vfs, "app.db")
	for what, fn := range map[string]func() error{
		"read":        func() error { _, err := c.ReadAt(make([]byte, 512), -1); return err },
		"write":       func() error { _, err := c.WriteAt(make([]byte, 512), 0); return err },
		"truncate":    func() error { return c.Truncate(512) },
		"begin write": c.BeginWrite,
		"pragma":      func() error { value := "soon"; _, err := c.Pragma("litestream_wait", &value); return err },
	} {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s panics: %v", what, r)
				}
			}()
			if err := fn(); !errors.Is(err, task.ErrPanic) || CodeOf(err) != CodeIOErr {
				t.Errorf("%s: %v", what, err)
			}
		}()
	}
}
