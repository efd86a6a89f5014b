package litestream_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/superfly/ltx"
)

// TestWrite_LockPage grows a database beyond 1 GiB, where the lock page lies.
// That page is never written and must not be in any file. The pages before it
// are not written either, which saves time.
func TestWrite_LockPage(t *testing.T) {
	const pageSize = 65536
	lock := ltx.LockPgno(pageSize)
	client := memoryClient()
	firstName, first := newVFS(t, client, writing())
	mustExec(t, openDB(t, firstName, "app.db"), "PRAGMA page_size=65536; CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "image.db")
	apply(t, client, image)
	page, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	page = page[:pageSize]
	binary.BigEndian.PutUint32(page[28:], lock-2) // the size of the database
	b := ltxtest.EncodeLTX(ltx.Header{PageSize: pageSize, Commit: lock - 2, MinTXID: 2, MaxTXID: 2, Timestamp: 1 << 41}, map[uint32][]byte{1: page}, false)
	if _, err := client.WriteLTXFile(t.Context(), 0, 2, 2, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}

	vfsName, vfs := newVFS(t, client, writing(func(o *litestream.Options) { o.CacheSize = -1 }))
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "PRAGMA cache_size=2")
	for range 3 {
		mustExec(t, db, "INSERT INTO t (b) VALUES (randomblob(300000))")
		mustExec(t, db, "BEGIN; INSERT INTO t (b) VALUES (randomblob(300000)); SAVEPOINT s; INSERT INTO t (b) VALUES (randomblob(900000)); ROLLBACK TO s; COMMIT")
		mustExec(t, db, "PRAGMA litestream_sync")
	}
	wantSQL(t, db, fmt.Sprintf("SELECT page_count > %d FROM pragma_page_count", lock+20), "1")
	mustExec(t, db, "DELETE FROM t WHERE id > 4")
	if err := vfs.Sync(t.Context(), "app.db"); err != nil {
		t.Fatal(err)
	}
	const query = "SELECT group_concat(id), hex(group_concat(substr(b, -20), '')), sum(length(b)) FROM t"
	want := mustQuery(t, db, query)
	if !strings.HasPrefix(want, "1,2,3,4|") {
		t.Errorf("rows are %.20s", want)
	}
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), query, want)
	apply(t, client, image)
	plain, err := sqlitetest.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	wantSQL(t, plain, query, want)
}

// apply writes the files of level 0 over each other into one file, which may
// have holes.
func apply(t testing.TB, client litestream.ReplicaClient, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	itr, err := client.LTXFiles(context.Background(), 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for itr.Next() {
		info := itr.Item()
		r, err := client.OpenLTXFile(context.Background(), 0, info.MinTXID, info.MaxTXID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		dec := ltx.NewDecoder(r)
		if err := dec.DecodeHeader(); err != nil {
			t.Fatal(err)
		}
		page := make([]byte, dec.Header().PageSize)
		for {
			var hdr ltx.PageHeader
			if err := dec.DecodePage(&hdr, page); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(page, int64(hdr.Pgno-1)*int64(len(page))); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Truncate(int64(dec.Header().Commit) * int64(len(page))); err != nil {
			t.Fatal(err)
		}
	}
}
