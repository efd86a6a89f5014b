package litestream_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// BenchmarkWarmPointQuery looks up rows by primary key, each in its own
// transaction, through the VFS and in plain SQLite on the same database. The
// two alternate within one run. The metric x-plain is the ratio of their
// medians.
func BenchmarkWarmPointQuery(b *testing.B) {
	for _, pages := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("%d pages", pages), func(b *testing.B) {
			plain, store, rows := benchDatabase(b, pages)
			vfsName, _ := newVFS(b, store, &litestream.Options{Logger: testlog.New(discardTB{b}, nil)})
			ours := benchStmt(b, "file:app.db?vfs="+vfsName)
			theirs := benchStmt(b, "file:"+plain+"?mode=ro")

			// The set of rows is small, so that the benchmark measures the way
			// to SQLite's page cache and not the size of that cache.
			rng := rand.New(rand.NewPCG(1, 1))
			ids := make([]int, 64)
			for i := range ids {
				ids[i] = 1 + rng.IntN(rows)
			}
			round := func(stmt *sql.Stmt) time.Duration {
				start := time.Now()
				for _, id := range ids {
					var got int
					if err := stmt.QueryRow(id).Scan(&got); err != nil || got != id {
						b.Fatalf("row %d: %d, %v", id, got, err)
					}
				}
				return time.Since(start) / time.Duration(len(ids))
			}
			round(ours)
			round(theirs)
			var a, c []time.Duration
			for b.Loop() {
				a = append(a, round(ours))
				c = append(c, round(theirs))
			}
			slices.Sort(a)
			slices.Sort(c)
			b.ReportMetric(float64(a[len(a)/2]), "ns/ours")
			b.ReportMetric(float64(c[len(c)/2]), "ns/plain")
			b.ReportMetric(float64(a[len(a)/2])/float64(c[len(c)/2]), "x-plain")
		})
	}
}

func benchStmt(b *testing.B, dsn string) *sql.Stmt {
	b.Helper()
	db, err := sqlitetest.Open(dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	stmt, err := db.Prepare("SELECT id FROM t WHERE id = ?")
	if err != nil {
		b.Fatal(err)
	}
	return stmt
}

// benchDatabase makes a database of about the given number of pages of 512
// bytes, as a plain file and as a snapshot.
func benchDatabase(b *testing.B, pages int) (path string, store *memory.ReplicaClient, rows int) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "plain.db")
	db, err := sqlitetest.Open("file:" + path + "?_journal_mode=OFF&_synchronous=OFF")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	rows = pages * 97 / 100
	for _, s := range []string{
		"PRAGMA page_size = 512",
		"CREATE TABLE t (id INTEGER PRIMARY KEY, pad BLOB)",
		fmt.Sprintf("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) INSERT INTO t SELECT i, zeroblob(420) FROM c", rows),
	} {
		if _, err := db.Exec(s); err != nil {
			b.Fatal(err)
		}
	}
	store = memoryClient()
	writeSnapshot(b, store, path, 512)
	return path, store, rows
}

// writeSnapshot stores a database file as transaction 1.
func writeSnapshot(b *testing.B, store litestream.ReplicaClient, path string, pageSize uint32) {
	b.Helper()
	image, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var buf bytes.Buffer
	enc, err := ltx.NewEncoder(&buf)
	if err != nil {
		b.Fatal(err)
	}
	commit := uint32(len(image)) / pageSize
	if err := enc.EncodeHeader(ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: pageSize, Commit: commit,
		MinTXID: 1, MaxTXID: 1, Timestamp: 1_700_000_000_000,
	}); err != nil {
		b.Fatal(err)
	}
	for pgno := uint32(1); pgno <= commit; pgno++ {
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, image[(pgno-1)*pageSize:pgno*pageSize]); err != nil {
			b.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		b.Fatal(err)
	}
	if _, err := store.WriteLTXFile(context.Background(), litestream.SnapshotLevel, 1, 1, &buf); err != nil {
		b.Fatal(err)
	}
}
