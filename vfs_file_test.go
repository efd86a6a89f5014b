package litestream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/write"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// openFile opens a database as a driver does, without SQLite.
func openFile(t *testing.T, vfs *VFS, name string) *Conn {
	t.Helper()
	c, err := vfs.OpenConn(name, nil, OpenMode{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// storeImage makes an image the snapshot of a replica.
func storeImage(t *testing.T, image []byte, pageSize int) *memory.ReplicaClient {
	t.Helper()
	pages := make(map[uint32][]byte)
	for p := range slices.Chunk(image, pageSize) {
		pages[uint32(len(pages)+1)] = p
	}
	hdr := ltx.Header{PageSize: uint32(pageSize), Commit: uint32(len(pages)), MinTXID: 1, MaxTXID: 1, Timestamp: time.Now().UnixMilli()}
	store := memory.NewReplicaClient()
	if _, err := store.WriteLTXFile(t.Context(), SnapshotLevel, 1, 1, bytes.NewReader(ltxtest.EncodeLTX(hdr, pages, false))); err != nil {
		t.Fatal(err)
	}
	return store
}

// connOf returns a connection of a database that has pinned a view, or nil if
// there is none.
func connOf(db *database, v *view.View) *Conn {
	c := &Conn{db: db, log: db.log, predictor: pages.NewPredictor(db.prefetcher)}
	c.pin(v)
	return c
}

func newTestVFS(t *testing.T, client ReplicaClient) *VFS {
	vfs := NewVFS(client, &Options{PollInterval: -1, CloseDelay: -1, Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _ = vfs.Close(context.Background()) })
	return vfs
}

// fileAs reads everything that a file can return: its size, its pages, and the
// parts of page 1 that SQLite reads separately.
func fileAs(t *testing.T, c *Conn) (content []byte, counter uint32) {
	t.Helper()
	size, err := c.FileSize()
	if err != nil {
		t.Fatal(err)
	}
	content = make([]byte, size)
	if n, err := c.ReadAt(content, 0); n != len(content) || err != nil {
		t.Fatalf("read %d of %d bytes: %v", n, len(content), err)
	}
	hdr := make([]byte, dbheader.Size)
	if _, err := c.ReadAt(hdr, 0); err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 16)
	if _, err := c.ReadAt(part, dbheader.OffChangeCounter); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(hdr, content[:dbheader.Size]) || !bytes.Equal(part, hdr[dbheader.OffChangeCounter:dbheader.OffChangeCounter+16]) {
		t.Error("the header differs by how it is read")
	}
	return content, binary.BigEndian.Uint32(part)
}

// checkImage compares a file with an image of the primary's database.
func checkImage(t *testing.T, what string, content, image []byte, counter uint32) {
	t.Helper()
	want := bytes.Clone(image)
	dbheader.Patch(want, counter, uint32(len(image))/uint32(pageSizeOf(image)))
	if !bytes.Equal(content, want) {
		t.Errorf("%s: the file is not the primary's, %d bytes of %d", what, len(content), len(want))
	}
	if content[dbheader.OffWriteVersion] != 1 || content[dbheader.OffReadVersion] != 1 {
		t.Errorf("%s: SQLite would try WAL mode", what)
	}
}

func pageSizeOf(image []byte) int {
	if n := binary.BigEndian.Uint16(image[dbheader.OffPageSize:]); n != 1 {
		return int(n)
	}
	return 65536
}

// TestConn_WritesAreRefused writes to a file that is open for reading only.
// SQLite does not try this, but nothing depends on that.
func TestConn_WritesAreRefused(t *testing.T) {
	image := make([]byte, 512)
	copy(image, dbheader.SqliteMagic)
	binary.BigEndian.PutUint16(image[dbheader.OffPageSize:], 512)
	store := storeImage(t, image, 512)
	c := openFile(t, newTestVFS(t, store), "app.db")
	if !c.IsReadOnly() {
		t.Error("SQLite may write")
	}
	if err := c.BeginRead(); err != nil {
		t.Fatal(err)
	}
	if err := c.BeginWrite(); CodeOf(err) != CodeReadOnly {
		t.Errorf("reserved lock: %v", err)
	}
	if _, err := c.WriteAt(make([]byte, 512), 0); CodeOf(err) != CodeReadOnly {
		t.Errorf("write: %v", err)
	}
	if err := c.Truncate(0); CodeOf(err) != CodeReadOnly {
		t.Errorf("truncate: %v", err)
	}
	for what, err := range map[string]error{"seal": c.Seal(true), "commit": c.Commit(true), "end write": c.EndWrite()} {
		if err != nil {
			t.Errorf("%s without a write: %v", what, err)
		}
	}
	c.Rollback()
	if c.IsRolledBack() || c.IsResized() {
		t.Error("a connection that does not write has changes")
	}
}

func TestCodeOf(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want Code
	}{
		{nil, CodeOK},
		{errs.Gap(1, 2), CodeRead},
		{errors.Join(errors.New("x"), ErrCorrupt), CodeCorrupt},
		{ErrReadOnly, CodeReadOnly},
		{fmt.Errorf("%w: another connection writes", write.ErrBusy), CodeBusy},
		{errNoWAL, CodeError},
		{errUnknownPragma, CodeNotFound},
		{task.Panicked(slog.New(slog.DiscardHandler), "read", "oh"), CodeIOErr},
		{context.DeadlineExceeded, CodeRead},
	} {
		if got := CodeOf(tc.err); got != tc.want {
			t.Errorf("%v is %v, want %v", tc.err, got, tc.want)
		}
	}
}

func TestPageOne_SizeOfOldWriters(t *testing.T) {
	page := make([]byte, 512)
	copy(page, dbheader.SqliteMagic)
	binary.BigEndian.PutUint16(page[dbheader.OffPageSize:], 512)
	binary.BigEndian.PutUint32(page[dbheader.OffChangeCounter:], 9)
	binary.BigEndian.PutUint32(page[dbheader.OffVersionValid:], 8) // makes the size invalid
	binary.BigEndian.PutUint32(page[dbheader.OffCommit:], 1234)
	dbheader.Patch(page, 77, 5)
	if got := binary.BigEndian.Uint32(page[dbheader.OffCommit:]); got != 5 {
		t.Errorf("size is %d pages, want 5", got)
	}
	for _, off := range []int{dbheader.OffChangeCounter, dbheader.OffVersionValid} {
		if got := binary.BigEndian.Uint32(page[off:]); got != 77 {
			t.Errorf("number at %d is %d, want 77", off, got)
		}
	}
	if _, err := dbheader.Check(page, 1024); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another page size: %v", err)
	}
	if _, err := dbheader.Check(nil, 512); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no page 1: %v", err)
	}
	page[0] = 'X'
	if _, err := dbheader.Check(page, 512); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no database: %v", err)
	}
}
