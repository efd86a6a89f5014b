//go:build vfs

package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	upstreamlib "github.com/benbjohnson/litestream"
	upstreamfile "github.com/benbjohnson/litestream/file"
)

func testEnv(t *testing.T) *env {
	t.Helper()
	cfg := quickConfig()
	cfg.latency, cfg.bandwidth = 0, 0
	cfg.blockRows, cfg.eventRows = 3000, 1500
	cfg.pointPages, cfg.indexPages, cfg.smallPages = []int{500}, 5000, 1000
	cfg.dir, cfg.binding = t.TempDir(), ownBinding
	all, err := systems(cfg.binding)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEnv(cfg, all, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// testDatasets returns one dataset of each source in each format.
func testDatasets(t *testing.T, e *env) []*dataset {
	t.Helper()
	var all []*dataset
	for _, frames := range []bool{false, true} {
		for _, src := range []*source{blocksSource(e.blockRows), eventsSource("events", e.eventRows), pointsSource(500)} {
			files := e.fewFiles
			if src.change == nil {
				files = 0
			}
			d, err := e.dataset(t.Context(), src, files, frames)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
	}
	return all
}

// Every query of every workload has the same result in all systems.
func TestAnswers(t *testing.T) {
	e := testEnv(t)
	for _, d := range testDatasets(t, e) {
		t.Run(d.String(), func(t *testing.T) {
			want := allAnswers(t, e, d, plainSystem())
			for _, sys := range e.systems {
				got := allAnswers(t, e, d, sys)
				for query, sum := range want {
					if got[query] != sum {
						t.Errorf("%s: wrong answer to %s", sys.name, query)
					}
				}
			}
		})
	}
}

func allAnswers(t *testing.T, e *env, d *dataset, sys *system) map[string]uint64 {
	t.Helper()
	ctx := t.Context()
	answers := make(map[string]uint64)
	if err := e.session(ctx, sys, d, openOptions{record: true}, func(s *session) error {
		ask := func(query string, args ...any) error {
			sum, err := answer(ctx, s.db, query, args...)
			if err != nil {
				return fmt.Errorf("%s: %w", query, err)
			}
			answers[fmt.Sprint(query, args)] = sum
			return nil
		}
		if err := ask(d.first); err != nil {
			return err
		}
		for _, look := range d.lookups {
			keys, err := d.keys(ctx, look.key, 20, 7)
			if err != nil {
				return err
			}
			for _, key := range keys {
				if err := ask(look.query, key); err != nil {
					return err
				}
			}
		}
		for _, scan := range d.ranges {
			keys, err := d.keys(ctx, scan.key, 1, 8)
			if err != nil {
				return err
			}
			if err := ask(scan.query, keys[0], 100); err != nil {
				return err
			}
		}
		for _, query := range slices.Concat(d.table, d.scans, d.counts) {
			for _, rows := range []int{10, -1} {
				if err := ask(query, rows); err != nil {
					return err
				}
			}
		}
		if s.trace == nil {
			return nil
		}
		requests, n, err := s.counts(ctx)
		if requests == 0 || n == 0 {
			t.Errorf("%s: %d requests for %d bytes", sys.name, requests, n)
		}
		// Only the few pages that belong to no b-tree were not read.
		if pages := len(s.rec.take()); pages < d.pages*9/10 {
			t.Errorf("%s: sqlite read %d of %d pages", sys.name, pages, d.pages)
		}
		return err
	}); err != nil {
		t.Fatalf("%s: %v", sys.name, err)
	}
	return answers
}

// The file that upstream restores from a replica is identical to the file on
// which plain SQLite is measured.
func TestUpstreamRestore(t *testing.T) {
	e := testEnv(t)
	for _, d := range testDatasets(t, e) {
		t.Run(d.String(), func(t *testing.T) {
			replica := upstreamlib.NewReplicaWithClient(nil, upstreamfile.NewReplicaClient(d.replica))
			opts := upstreamlib.NewRestoreOptions()
			opts.OutputPath = filepath.Join(t.TempDir(), "restored.db")
			if err := replica.Restore(context.Background(), opts); err != nil {
				t.Fatal(err)
			}
			restored, err := os.ReadFile(opts.OutputPath)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(d.plain)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(restored, want) {
				t.Fatal("the restored database differs")
			}
		})
	}
}

func TestDatasetsAreDeterministic(t *testing.T) {
	var first map[string][]byte
	for range 2 {
		files := make(map[string][]byte)
		for _, d := range testDatasets(t, testEnv(t)) {
			paths, err := filepath.Glob(filepath.Join(d.replica, "ltx", "*", "*.ltx"))
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range paths {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				files[d.String()+strings.TrimPrefix(path, d.replica)] = b
			}
		}
		if first == nil {
			first = files
		}
		if len(files) != len(first) || len(files) == 0 {
			t.Fatalf("%d files, then %d", len(first), len(files))
		}
		for name, b := range files {
			if !bytes.Equal(b, first[name]) {
				t.Errorf("%s differs", name)
			}
		}
	}
}

// Every workload runs, and every goal has a number.
func TestWorkloads(t *testing.T) {
	e := testEnv(t)
	if err := e.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, row := range e.results.rows {
		for _, sys := range e.systems {
			if sys.name == upstream && strings.Contains(row.name, "count(*)") {
				continue // see countWorkload
			}
			if sys.name == plain && strings.HasSuffix(row.name, "hydration, from nothing") {
				continue // it has the file already
			}
			if sys.name == plain && strings.HasPrefix(row.name, "write: ") && (strings.Contains(row.name, "uploads") || strings.Contains(row.name, "syncs")) {
				continue // it uploads nothing
			}
			if sys.name != ours && strings.HasSuffix(row.name, "with a local file for pages") {
				continue // only ours has one
			}
			if sys.name == plain && strings.HasSuffix(row.name, "restore to a file") || sys.name != ours && strings.HasSuffix(row.name, "import of a file") {
				continue // it has the file already; upstream imports none
			}
			if sys.name != ours && strings.Contains(row.name, "what has changed in ") {
				continue // see changesWorkload
			}
			if sys.name == plain && strings.HasPrefix(row.name, "page index of ") {
				continue // it has no page index
			}
			if sys.name == upstream && strings.HasPrefix(row.name, programName("")) {
				continue // see programWorkload
			}
			if len(row.samples[sys.name]) == 0 {
				t.Errorf("%s: nothing for %s", row.name, sys.name)
			}
		}
	}
	for _, g := range e.goals() {
		if math.IsNaN(g.got) {
			t.Errorf("goal without a number: %s", g.what)
		}
	}
	if text := e.markdown(); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("tables:\n%s", text)
	}
}

// The b-tree that is made up as it is encoded is one for SQLite, across the lock
// page, too.
func TestTreeDataset(t *testing.T) {
	e := testEnv(t)
	for _, pages := range []int{100, 45_000} {
		d, err := e.treeDataset(t.Context(), pages)
		if err != nil {
			t.Fatal(err)
		}
		err = e.session(t.Context(), oursSystem(e.binding), d, openOptions{}, func(s *session) error {
			var result string
			var rows int
			if err := s.db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&result); err != nil {
				return err
			}
			if err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM points WHERE length(pad) = 420").Scan(&rows); err != nil {
				return err
			}
			if result != "ok" || rows != d.rows {
				t.Errorf("%d pages: %s, %d rows of %d", pages, result, rows, d.rows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tr := newTree(1000, 512)
	tr.lock = 40
	next := uint32(2)
	if err := tr.write(func(n int, _ []byte) error {
		if got := tr.pgno(n); got != next {
			t.Fatalf("page %d comes after page %d", got, next-1)
		}
		if next++; next == 40 {
			next++
		}
		return nil
	}, 2, len(tr.full)-1, 1, 1000); err != nil || next != tr.pgno(tr.count())+1 {
		t.Errorf("the tree ends before page %d of %d: %v", next, tr.pgno(tr.count()), err)
	}
}
