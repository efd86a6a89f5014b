package litestream

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// cksum computes the checksum of cksumvfs over all but the last 8 bytes, as its
// documentation describes it.
func cksum(page []byte) []byte {
	var s1, s2 uint32
	for i := 0; i < len(page)-8; i += 8 {
		s1 += binary.LittleEndian.Uint32(page[i:]) + s2
		s2 += binary.LittleEndian.Uint32(page[i+4:]) + s1
	}
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, s1), s2)
}

// reservedImage makes a database in WAL mode with the given number of reserved
// bytes in each page.
func reservedImage(t *testing.T, pageSize, reserved int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plain.db")
	db, err := sqlitetest.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Raw(func(c any) error {
		return sqlitetest.ReserveBytes(c, reserved)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA page_size = %d; CREATE TABLE t (x); INSERT INTO t VALUES (hex(randomblob(100000)))", pageSize)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if image[dbheader.OffReserved] != byte(reserved) || len(image)%pageSize != 0 {
		t.Fatalf("%d bytes reserved, %d bytes in all", image[dbheader.OffReserved], len(image))
	}
	image[dbheader.OffWriteVersion], image[dbheader.OffReadVersion] = 2, 2
	return image
}

// wantChecksums reads page 1 in every way that a driver can, and checks whether
// its checksum is right.
func wantChecksums(t *testing.T, what string, c *Conn, want bool) (page []byte) {
	t.Helper()
	content, _ := fileAs(t, c)
	size := pageSizeOf(content)
	page = content[:size]
	if got := bytes.Equal(cksum(page), page[size-8:]); got != want {
		t.Errorf("%s: the checksum of page 1 is right: %v, want %v", what, got, want)
	}
	for _, r := range [][2]int{{0, size}, {0, 100}, {24, 40}, {18, 20}, {size - 8, size}, {size - 4, size}, {size - 20, size - 2}, {95, size - 3}, {100, size}} {
		part := make([]byte, r[1]-r[0])
		if _, err := c.ReadAt(part, int64(r[0])); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(part, page[r[0]:r[1]]) {
			t.Errorf("%s: bytes %d to %d differ by how they are read", what, r[0], r[1])
		}
	}
	return page
}

// TestPageChecksum checks that a checksum of cksumvfs in page 1 is right as
// served and as stored, if it was right before. Other content of the reserved
// bytes is left alone.
func TestPageChecksum(t *testing.T) {
	for _, pageSize := range []int{512, 4096, 65536} {
		for _, c := range []struct {
			name     string
			reserved int
			spoil    func(image []byte)
			want     bool
		}{
			{"right", 8, func(image []byte) {
				for p := range slices.Chunk(image, pageSize) {
					copy(p[pageSize-8:], cksum(p))
				}
			}, true},
			{"wrong", 8, func(image []byte) { copy(image[pageSize-8:], "no check") }, false},
			{"none", 0, func(image []byte) { copy(image[pageSize-8:], cksum(image[:pageSize])) }, false},
			{"other", 12, func(image []byte) { copy(image[pageSize-8:], cksum(image[:pageSize])) }, false},
		} {
			t.Run(fmt.Sprint(c.name, pageSize), func(t *testing.T) {
				image := reservedImage(t, pageSize, c.reserved)
				c.spoil(image)
				testPageChecksum(t, image, pageSize, c.want)
			})
		}
	}
}

func testPageChecksum(t *testing.T, image []byte, pageSize int, want bool) {
	store := storeImage(t, image, pageSize)
	for _, hydrated := range []bool{false, true} {
		vfs := newTestVFS(t, store)
		vfs.HydrationEnabled, vfs.WriteEnabled, vfs.WriteSyncInterval = hydrated, true, -1
		f, other := openFile(t, vfs, "app.db"), openFile(t, vfs, "app.db")
		if hydrated {
			for deadline := time.Now().Add(20 * time.Second); f.db.hydrator.Progress().Status != hydrate.Complete; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("it is not hydrated")
				}
			}
		}
		page := wantChecksums(t, "as served", f, want)
		if !want && !bytes.Equal(page[dbheader.Size:], image[dbheader.Size:pageSize]) {
			t.Error("page 1 was changed beyond its header")
		}

		// This is a commit as SQLite with cksumvfs makes it.
		for _, begin := range []func() error{f.BeginRead, f.BeginWrite, f.BeginWrite} {
			if err := begin(); err != nil {
				t.Fatal(err)
			}
		}
		page = bytes.Clone(page)
		number := binary.BigEndian.Uint32(page[dbheader.OffChangeCounter:]) + 1
		binary.BigEndian.PutUint32(page[dbheader.OffChangeCounter:], number)
		binary.BigEndian.PutUint32(page[dbheader.OffVersionValid:], number)
		binary.BigEndian.PutUint32(page[60:], number) // user_version
		if want {
			copy(page[pageSize-8:], cksum(page))
		}
		if _, err := f.WriteAt(page, 0); err != nil {
			t.Fatal(err)
		}
		wantChecksums(t, "in the transaction", f, want)
		if err := f.Commit(true); err != nil {
			t.Fatal(err)
		}
		if err := f.EndWrite(); err != nil {
			t.Fatal(err)
		}
		f.EndRead()
		wantChecksums(t, "as committed", other, want)
		if err := vfs.Sync(context.Background(), "app.db"); err != nil {
			t.Fatal(err)
		}
		wantChecksums(t, "as synced", other, want)

		// The stored page still says WAL mode.
		reader := newTestVFS(t, store)
		again := openFile(t, reader, "app.db")
		stored, err := again.db.pages.Page(t.Context(), again.db.Current.Load(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if stored[dbheader.OffWriteVersion] != 2 || stored[dbheader.OffReadVersion] != 2 || binary.BigEndian.Uint32(stored[60:]) != number {
			t.Errorf("stored: versions %d and %d, user version %d, want %d", stored[dbheader.OffWriteVersion], stored[dbheader.OffReadVersion], binary.BigEndian.Uint32(stored[60:]), number)
		}
		if got := bytes.Equal(cksum(stored), stored[pageSize-8:]); got != want {
			t.Errorf("as stored, the checksum is right: %v, want %v", got, want)
		}
		wantChecksums(t, "read back", again, want)
		if err := vfs.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
