package rowdiff_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/rowdiff"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// plain begins a history with one page size, the encoding UTF-8, and with auto_vacuum or
// without.
func plain(t testing.TB, pageSize int, autoVacuum bool) *history {
	t.Helper()
	for seed := uint64(0); ; seed++ {
		h := newHistory(t, seed, pageSize)
		var encoding string
		var vacuum int
		if err := errors.Join(h.db.QueryRow("PRAGMA encoding").Scan(&encoding), h.db.QueryRow("PRAGMA auto_vacuum").Scan(&vacuum)); err != nil {
			t.Fatal(err)
		}
		h.exec("PRAGMA synchronous = OFF")
		if encoding == "UTF-8" && vacuum == map[bool]int{true: 1}[autoVacuum] {
			return h
		}
	}
}

// chunks returns a blob whose overflow pages of 508 bytes differ from each other and
// from everything else, and what each of them holds.
func chunks(n int) (blob []byte, each [][]byte) {
	for i := range n {
		chunk := bytes.Repeat([]byte{0xC5}, 500)
		copy(chunk, fmt.Sprintf("chunk %d of the blob", i))
		blob = append(blob, chunk...)
		each = append(each, chunk[:40])
	}
	return blob, each
}

// TestDiff_InPlace changes one page of a large value after the other. Each time, one row
// has changed, whatever the number of the page, and a page that is no part of a value
// changes none.
func TestDiff_InPlace(t *testing.T) {
	for _, autoVacuum := range []bool{false, true} {
		h := plain(t, 512, autoVacuum)
		blob, each := chunks(230) // pages of the pointer map are 103 pages apart
		h.exec("INSERT INTO t (id, b) VALUES (1, 'before'), (3, 'after')")
		h.exec("INSERT INTO w VALUES ('a', 1, 'before'), ('b', 3, 'after')")
		for i, q := range []string{"INSERT INTO t (id, b) VALUES (2, ?)", "INSERT INTO w VALUES ('c', 2, ?)"} {
			if _, err := h.db.Exec(q, blob[i*100_000:]); err != nil {
				t.Fatal(err)
			}
		}
		a := h.image()
		var reads atomic.Int64
		pages := make(map[uint32]bool)
		for i, chunk := range each {
			for at := 0; ; at++ {
				next := bytes.Index(a[at:], chunk)
				if next < 0 {
					break
				}
				at += next
				pages[uint32(at/512)+1] = true
				if testscale.LeavesOut(i+1, 4) {
					continue
				}
				b := slices.Clone(a)
				b[at+3] ^= 1
				got, err := changes(t, a, b, &reads, -(i % 2))
				if err != nil || len(got) != 1 {
					t.Fatalf("a byte of page %d: %d changes, want 1, %v", at/512+1, len(got), err)
				}
				if i%20 == 7 { // the change is found at the next page, which cannot be read
					failedChain(t, a, b, binary.BigEndian.Uint32(b[at/512*512:]))
				}
			}
		}
		if len(pages) < 220 {
			t.Errorf("%d pages of values", len(pages))
		}
		if !autoVacuum {
			continue
		}
		b := slices.Clone(a)
		for pgno := 2; pgno <= int(a.commit()); pgno += 512/5 + 1 {
			if pages[uint32(pgno)] {
				t.Fatalf("page %d of the pointer map has a part of a value", pgno)
			}
			b[pgno*512-1] ^= 1 // after its entries
		}
		reads.Store(0)
		if got, err := changes(t, a, b, &reads, 0); err != nil || len(got) != 0 || reads.Load() > 100 {
			t.Errorf("only the pointer map differs: %d changes, %d reads, %v", len(got), reads.Load(), err)
		}
	}
}

// failing returns the states of two images, of which the old or the new one has a page
// that cannot be read, and whether that was tried.
func failing(a, b image, isOld bool, failed uint32, err error) (from, to rowdiff.State, isRead *atomic.Bool) {
	var reads atomic.Int64
	from, to, isRead = a.state(&reads), b.state(&reads), new(atomic.Bool)
	s := &to
	if isOld {
		s = &from
	}
	page := s.Page
	s.Page = func(ctx context.Context, pgno uint32) ([]byte, error) {
		if pgno == failed {
			isRead.Store(true)
			return nil, err
		}
		return page(ctx, pgno)
	}
	return from, to, isRead
}

// failedChain compares two images whose large value has a page that cannot be read, in
// either of them.
func failedChain(t *testing.T, a, b image, failed uint32) {
	t.Helper()
	wrong := errors.New("wrong")
	for _, isOld := range []bool{true, false} {
		from, to, _ := failing(a, b, isOld, failed, wrong)
		if err := rowdiff.Diff(t.Context(), from, to, options(a, b), func(rowdiff.Change) error { return nil }); failed != 0 && !errors.Is(err, wrong) {
			t.Errorf("page %d of the value cannot be read, old %v: %v", failed, isOld, err)
		}
	}
}

// TestDiff_Known reads the pages that differ first if they are few enough, to the page.
// A page of an index that differs leads nowhere, and costs no search in the free list.
func TestDiff_Known(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v, x)")
	h.exec("CREATE INDEX big_x ON big (x)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 30000) INSERT INTO big SELECT i, hex(randomblob(20)), i FROM c")
	h.exec("CREATE TABLE gone (v); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 30000) INSERT INTO gone SELECT randomblob(400) FROM c")
	h.exec("DROP TABLE gone") // which leaves a free list of many pages
	a := h.image()
	h.exec("UPDATE big SET x = x + 1000000 WHERE k IN (70, 9000, 20000)")
	b := h.image()
	n := 0
	options(a, b).Each(func(uint32) { n++ })
	perPage := 2 * b.pageSize()
	count := func(known int) int64 {
		t.Helper()
		var reads atomic.Int64
		if got, err := changes(t, a, b, &reads, known); err != nil || len(got) != 3 {
			t.Fatalf("%d changes, want 3; %v", len(got), err)
		}
		return reads.Load()
	}
	all, most, less := count(-1), count(n*perPage), count(n*perPage-1)
	t.Logf("%d pages differ: %d reads if they are known, %d if one is too many, %d without", n, most, less, all)
	if most > 150 || less != all || all < 4*most {
		t.Errorf("%d pages differ: %d reads if they are known, %d if one is too many, %d without", n, most, less, all)
	}
}

// TestDiff_LastPage changes a row in the last page of a database.
func TestDiff_LastPage(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO big SELECT i, 'value ' || i FROM c")
	a := h.image()
	for k := 5001; a.page(a.commit())[0] != 13; k++ { // until it is a leaf
		h.exec("INSERT INTO big VALUES (%d, 'value %d')", k, k)
		a = h.image()
	}
	b := slices.Clone(a)
	last := b.page(b.commit())
	at := bytes.LastIndex(last, []byte("value "))
	last[at] = 'V'
	for _, known := range []int{0, -1} {
		var reads atomic.Int64
		if got, err := changes(t, a, b, &reads, known); err != nil || len(got) != 1 {
			t.Errorf("known %d: %d changes, want 1; %v", known, len(got), err)
		}
	}
}

// TestDiff_RowsOfPages changes rows of which each has a page for itself, one after the
// other.
func TestDiff_RowsOfPages(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 200) INSERT INTO big SELECT i, printf('row %%03d ', i) || hex(zeroblob(200)) FROM c")
	a := h.image()
	for i := 1; i <= 200; i += 7 {
		b := slices.Clone(a)
		b[bytes.Index(b, fmt.Appendf(nil, "row %03d ", i))+3] = '_'
		var reads atomic.Int64
		if got, err := changes(t, a, b, &reads, 0); err != nil || len(got) != 1 {
			t.Errorf("row %d: %d changes, want 1; %v", i, len(got), err)
		}
	}
}

// TestDiff_Ahead is told of pages that are going to be read, at least two at a time. An option that is zero has its default.
func TestDiff_Ahead(t *testing.T) {
	a, b := twoStates(t)
	var reads atomic.Int64
	var mu sync.Mutex
	calls, pages := 0, 0
	with := func(m image) rowdiff.State {
		s := m.state(&reads)
		s.Ahead = func(pgnos []uint32) {
			mu.Lock()
			defer mu.Unlock()
			calls++
			pages += len(pgnos)
			if len(pgnos) < 2 {
				t.Errorf("%d pages ahead", len(pgnos))
			}
		}
		return s
	}
	got := make(map[bool]int)
	for _, isAhead := range []bool{false, true} {
		opts := options(a, b)
		opts.Width = 0
		from, to := a.state(&reads), b.state(&reads)
		if isAhead {
			from, to = with(a), with(b)
		}
		if err := rowdiff.Diff(t.Context(), from, to, opts, func(rowdiff.Change) error { got[isAhead]++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if got[true] != got[false] || got[true] == 0 || calls == 0 || pages < 2*calls {
		t.Errorf("%d changes, %d without telling ahead; %d pages in %d calls", got[true], got[false], pages, calls)
	}
}

// Of a table that is read whole, the leaves of four batches are told ahead at a time.
func TestDiff_AheadOfLeaves(t *testing.T) {
	h := plain(t, 512, false)
	a := h.image()
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) INSERT INTO big SELECT i, hex(randomblob(20)) FROM c")
	b := h.image()
	var reads atomic.Int64
	to := b.state(&reads)
	var mu sync.Mutex
	calls := make(map[int]int) // how often so many leaves are told
	to.Ahead = func(pgnos []uint32) {
		mu.Lock()
		defer mu.Unlock()
		if !slices.ContainsFunc(pgnos, func(pgno uint32) bool { return b.page(pgno)[0] != 13 }) {
			calls[len(pgnos)]++
		}
	}
	opts := options(a, b)
	opts.Known = -1
	rows := 0
	if err := rowdiff.Diff(t.Context(), a.state(&reads), to, opts, func(rowdiff.Change) error { rows++; return nil }); err != nil || rows != 2001 {
		t.Fatalf("%d changes, %v", rows, err)
	}
	// Each batch is told again right before its reads.
	if all := 4 * opts.Width; calls[all] < 10 || calls[opts.Width] < 3*calls[all] {
		t.Errorf("so many leaves are told so often: %v, want %d and %d", calls, all, opts.Width)
	}
}

// TestDiff_FailedCalls lets the function fail that gets the changes, at one of them after
// the other. That is the error of the difference, and the function is not called again.
func TestDiff_FailedCalls(t *testing.T) {
	h := plain(t, 512, false)
	blob, _ := chunks(6)
	h.exec("CREATE TABLE gone (a); INSERT INTO gone VALUES (1); CREATE TABLE remade (a); INSERT INTO remade VALUES (1); CREATE TABLE e (a)")
	h.exec("INSERT INTO w VALUES ('a', 1, 2), ('b', 2, 3); INSERT INTO plain VALUES (1, 2), (3, 4)")
	h.exec("CREATE VIRTUAL TABLE area USING rtree(id, west, east); CREATE VIRTUAL TABLE area2 USING rtree(id, west, east)")
	if _, err := h.db.Exec("INSERT INTO t (id, b) VALUES (1000, ?)", blob); err != nil {
		t.Fatal(err)
	}
	a := h.image()
	h.exec("DROP TABLE gone; CREATE TABLE made (a); INSERT INTO made VALUES (1); ALTER TABLE e ADD COLUMN b; DROP TABLE remade; CREATE TABLE remade (a PRIMARY KEY) WITHOUT ROWID; INSERT INTO remade VALUES (1)")
	h.exec("INSERT INTO w VALUES ('c', 3, 4); DELETE FROM w WHERE b = 1; UPDATE w SET c = 9 WHERE b = 2; DELETE FROM plain WHERE a = 1; UPDATE plain SET b = 5; INSERT INTO plain VALUES (5, 6)")
	h.exec("UPDATE t SET b = CAST(substr(b, 1, length(b) - 4) || 'abcd' AS BLOB)")
	h.exec("DROP TABLE area; CREATE VIRTUAL TABLE area USING rtree(id, west, east, south, north); DROP TABLE area2; CREATE TABLE area2 (a); INSERT INTO area2 VALUES (1)")
	b := h.image()
	wrong := errors.New("wrong")
	var reads atomic.Int64
	n := 1
	for failed := true; failed; n++ {
		calls := 0
		err := rowdiff.Diff(t.Context(), a.state(&reads), b.state(&reads), options(a, b), func(rowdiff.Change) error {
			if calls++; calls == n {
				return wrong
			}
			return nil
		})
		if failed = calls == n; failed != errors.Is(err, wrong) || calls > n || !failed && err != nil {
			t.Errorf("call %d of %d fails: %v", n, calls, err)
		}
	}
	if n-2 < 15 {
		t.Errorf("%d changes", n-2)
	}
}

// TestDiff_FailedReads lets the read of one page after the other fail, in either state.
// The difference fails for that reason, unless the page is not needed.
func TestDiff_FailedReads(t *testing.T) {
	h := plain(t, 512, false)
	blob, _ := chunks(6)
	h.exec("CREATE TABLE big (k TEXT PRIMARY KEY, v) WITHOUT ROWID")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60) INSERT INTO big SELECT 'key ' || i, hex(randomblob(20)) FROM c")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60) INSERT INTO t (id, s) SELECT i, hex(randomblob(20)) FROM c")
	for _, q := range []string{"INSERT INTO t (id, b) VALUES (1000, ?)", "INSERT INTO big VALUES ('large', ?)"} {
		if _, err := h.db.Exec(q, blob); err != nil {
			t.Fatal(err)
		}
	}
	a := h.image()
	h.exec("UPDATE t SET s = 'x' WHERE id > 50; UPDATE big SET v = CAST(v || 'x' AS BLOB) WHERE k > 'key 5'; CREATE TABLE more (a); INSERT INTO more VALUES (1)")
	b := h.image()
	wrong := errors.New("wrong")
	for _, known := range []int{0, -1} {
		for _, isOld := range []bool{true, false} {
			failed := 0
			for pgno := uint32(1); pgno <= max(a.commit(), b.commit()); pgno++ {
				from, to, isRead := failing(a, b, isOld, pgno, wrong)
				opts := options(a, b)
				opts.Known = known
				err := rowdiff.Diff(t.Context(), from, to, opts, func(rowdiff.Change) error { return nil })
				if isRead.Load() != errors.Is(err, wrong) || !isRead.Load() && err != nil {
					t.Errorf("known %d, old %v: page %d, which is read: %v, cannot be read: %v", known, isOld, pgno, isRead.Load(), err)
				}
				if err != nil {
					failed++
				}
			}
			if failed < 10 {
				t.Errorf("known %d, old %v: %d pages are needed", known, isOld, failed)
			}
		}
	}
}

// TestDiff_LargeRows changes both ends of a large value in a large table. The pages of its
// chain that differ are explained by the row, so that the rest of the table is not searched for others.
func TestDiff_LargeRows(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 30000) INSERT INTO big SELECT i, hex(randomblob(20)) FROM c")
	blob, _ := chunks(20)
	if _, err := h.db.Exec("UPDATE big SET v = ? WHERE k = 7777", blob); err != nil {
		t.Fatal(err)
	}
	a := h.image()
	h.exec("UPDATE big SET v = CAST('begin' || substr(v, 6, length(v) - 8) || 'end' AS BLOB) WHERE k = 7777")
	b := h.image()
	for _, known := range []int{0, -1} {
		var reads atomic.Int64
		got, err := changes(t, a, b, &reads, known)
		if most := map[int]int64{0: 200, -1: 500}[known]; err != nil || len(got) != 1 || reads.Load() > most {
			t.Errorf("known %d: %d changes after %d reads, %v", known, len(got), reads.Load(), err)
		}
	}
}
