package litestream

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/memory"
)

// twinPrimary returns a primary of two tables whose pages have the same content, up to
// transaction 2. A transaction that changes a row of one table makes a file of the same
// size as one that changes a row of the other.
func twinPrimary(t *testing.T, store ltxtest.Store) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, store, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x); CREATE TABLE u (x); INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)")
	p.Exec("UPDATE t SET x = 2; UPDATE u SET x = 2")
	return p
}

// publishFolder writes index.json with the files of a folder and the times of their last
// changes, which are those of the LTX headers unless the files were touched.
func publishFolder(t *testing.T, folder *file.ReplicaClient) {
	t.Helper()
	index := webindex.Index{Published: time.Now()}
	for level := range view.Levels {
		itr, err := folder.LTXFiles(t.Context(), level, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		infos, err := ltx.SliceFileIterator(itr)
		if err = errors.Join(err, itr.Close()); err != nil {
			t.Fatal(err)
		}
		for _, f := range infos {
			name := fmt.Sprintf("ltx/%d/%s", level, ltx.FormatFilename(f.MinTXID, f.MaxTXID))
			index.Files = append(index.Files, webindex.File{Name: name, Size: f.Size, Time: f.CreatedAt})
		}
	}
	b, err := webindex.Encode(index)
	if err = errors.Join(err, folder.WriteIndex(t.Context(), b)); err != nil {
		t.Fatal(err)
	}
}

// TestRefresh_ReplacedOnWebServer rolls a replica behind a web server back by one
// transaction, of which a reader has all pages in its cache, and lets another writer
// continue. The file of that transaction has the same size in both histories. The reader
// notices the other history, and takes nothing else for one.
func TestRefresh_ReplacedOnWebServer(t *testing.T) {
	for _, tc := range []struct {
		name  string
		index bool // the listing is index.json, or else the pages of the folders
		full  bool // the poll lists all levels
		more  bool // the other history has a transaction more
	}{
		{"index", true, false, true},
		{"index, full poll", true, true, true},
		{"index, full poll, as many transactions", true, true, false},
		{"folders", false, false, true},
		{"folders, full poll", false, true, true},
		{"folders, full poll, as many transactions", false, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			server := httptest.NewServer(http.FileServer(http.Dir(root)))
			t.Cleanup(server.Close)
			client := https.NewReplicaClient()
			client.URL = server.URL + "/app"
			t.Cleanup(func() { client.Close() })
			folder := file.NewReplicaClient(filepath.Join(root, "app"))
			publish := func() {
				t.Helper()
				if tc.index {
					publishFolder(t, folder)
				}
			}
			old := twinPrimary(t, folder)
			publish()
			db := openHere(t, client, Options{})
			epoch := db.Current.Load().Epoch
			poll := func(full bool, p *ltxtest.Primary) {
				t.Helper()
				if err := db.poller.poll(full); err != nil {
					t.Errorf("poll: %v", err)
				}
				got := db.Current.Load()
				if got.TXID != p.TXID() || got.Epoch != epoch {
					t.Fatalf("the view is of transaction %s, want %s, and of epoch %d, want %d", got.TXID, p.TXID(), got.Epoch, epoch)
				}
				wantPages(t, p, db, got, 1, 2, 3)
			}
			old.Exec("UPDATE t SET x = 3")
			publish()
			poll(false, old)
			poll(true, old)

			touched := old.Time(3).Add(time.Minute)
			eachFile(t, folder, func(name string) error { return os.Chtimes(name, touched, touched) })
			publish()
			poll(true, old)
			poll(true, old)

			files := memory.NewReplicaClient()
			other := twinPrimary(t, files)
			put := func(txid ltx.TXID) int64 {
				t.Helper()
				r, err := files.OpenLTXFile(t.Context(), 0, txid, txid, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				info, err := folder.WriteLTXFile(t.Context(), 0, txid, txid, r)
				if err != nil {
					t.Fatal(err)
				}
				return info.Size
			}
			fi, err := os.Stat(filepath.Join(folder.Path(), "ltx", "0", ltx.FormatFilename(3, 3)))
			if err != nil {
				t.Fatal(err)
			}
			other.Advance(time.Hour)
			if size := put(other.Exec("UPDATE u SET x = 3")); size != fi.Size() {
				t.Fatalf("the files have %d and %d bytes, want the same", fi.Size(), size)
			}
			if tc.more {
				put(other.Exec("UPDATE t SET x = 4"))
			}
			publish()
			epoch++
			poll(tc.full, other)

			// The other history can be followed like any other.
			put(other.Exec("UPDATE u SET x = 5"))
			publish()
			poll(false, other)
			poll(true, other)
		})
	}
}
