package litestream

import (
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// BenchmarkReadLocal reads pages of 4 KiB from the local file, by the database that owns
// it and by one that shares it.
func BenchmarkReadLocal(b *testing.B) {
	client := newHookClient()
	p := ltxtest.New(b, client, ltxtest.Options{PageSize: 4096})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO t SELECT i, randomblob(3500) FROM c")
	p.Snapshot()
	path := filepath.Join(b.TempDir(), "local.db")
	owner, _ := openKeptDB(b, client, path, Options{})
	defer closeDB(b, owner)
	awaitHydrated(b, owner)
	b.Run("owner", func(b *testing.B) { readLocal(b, owner) })

	sharer, _ := openKeptDB(b, client, path, Options{})
	defer closeDB(b, sharer)
	await(b, "the file of the other", func() bool { return borrowed(sharer) })
	b.Run("sharer", func(b *testing.B) { readLocal(b, sharer) })
}

// readLocal reads all pages in an order that is none.
func readLocal(b *testing.B, db *database) {
	v := db.Current.Load()
	page := make([]byte, v.PageSize)
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	pgno := uint32(0)
	for b.Loop() {
		if pgno = (pgno + 7919) % v.Commit; !db.pages.ReadLocal(v, pgno+1, page) {
			b.Fatalf("page %d is not local", pgno+1)
		}
	}
}
