//go:build unix

package litestream_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// processorTime returns the processor time of the process so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkColdScan reads a table of 15,000 pages with a cold cache, through the VFS
// from a store in memory, and in plain SQLite from the file. The two alternate within
// one run. The metric x-plain is the ratio of the medians of their processor times.
func BenchmarkColdScan(b *testing.B) {
	const pageSize, rows = 4096, 150_000
	path := filepath.Join(b.TempDir(), "plain.db")
	db, err := sqlitetest.Open("file:" + path + "?_journal_mode=OFF&_synchronous=OFF")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	words := strings.Fields("account basket bottle camera desk engine folder garden helmet jacket kitchen lamp mirror notebook office pencil saddle ticket umbrella winter")
	rng := rand.New(rand.NewPCG(1, 1))
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := tx.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, user INTEGER, body TEXT)"); err != nil {
		b.Fatal(err)
	}
	insert, err := tx.Prepare("INSERT INTO t VALUES (?, ?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	for id := range rows {
		body := fmt.Sprintf("%016x", rng.Uint64())
		for len(body) < 300+rng.IntN(160) {
			body += " " + words[rng.IntN(len(words))]
		}
		if _, err := insert.Exec(id, rng.IntN(rows/12), body); err != nil {
			b.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	store := memoryClient()
	writeSnapshot(b, store, path, pageSize)
	for _, bc := range []struct{ name, query string }{
		{"rows", "SELECT sum(length(body)) FROM t"},
		{"count", "SELECT count(*) FROM t"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			scan := func(dsn string) time.Duration {
				db, err := sqlitetest.Open(dsn)
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				var n int
				start := processorTime(b)
				if err := db.QueryRow(bc.query).Scan(&n); err != nil {
					b.Fatal(err)
				}
				return processorTime(b) - start
			}
			var ours, plain []time.Duration
			for b.Loop() {
				vfsName, vfs := newVFS(b, store, &litestream.Options{PollInterval: -1, Logger: testlog.New(discardTB{b}, nil)})
				ours = append(ours, scan("file:app.db?vfs="+vfsName))
				if err := vfs.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
				plain = append(plain, scan("file:"+path+"?mode=ro"))
			}
			slices.Sort(ours)
			slices.Sort(plain)
			b.ReportMetric(float64(ours[len(ours)/2])/1e6, "ms-ours")
			b.ReportMetric(float64(plain[len(plain)/2])/1e6, "ms-plain")
			b.ReportMetric(float64(ours[len(ours)/2])/float64(plain[len(plain)/2]), "x-plain")
		})
	}
}
