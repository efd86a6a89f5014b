package rowdiff_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/rowdiff"
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
				b := slices.Clone(a)
				b[at+3] ^= 1
				got, err := changes(t, a, b, &reads, -(i % 2))
				if err != nil || len(got) != 1 {
					t.Fatalf("a byte of page %d: %d changes, want 1, %v", at/512+1, len(got), err)
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
				var reads atomic.Int64
				var isRead atomic.Bool
				from, to := a.state(&reads), b.state(&reads)
				s := &to
				if isOld {
					s = &from
				}
				page := s.Page
				s.Page = func(ctx context.Context, n uint32) ([]byte, error) {
					if n == pgno {
						isRead.Store(true)
						return nil, wrong
					}
					return page(ctx, n)
				}
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

// rootOf returns the root of a table or an index.
func (h *history) rootOf(name string) (pgno uint32) {
	h.t.Helper()
	if err := h.db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = ?", name).Scan(&pgno); err != nil {
		h.t.Fatal(err)
	}
	return pgno
}

// TestDiff_WrongTrees damages pages of the tree of a table: that is an error, whether
// the table is new, dropped or in both states.
func TestDiff_WrongTrees(t *testing.T) {
	h := plain(t, 512, false)
	empty := h.image()
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v); CREATE INDEX big_v ON big (v); CREATE TABLE key (k PRIMARY KEY, v) WITHOUT ROWID")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300) INSERT INTO big SELECT i, hex(randomblob(20)) FROM c")
	h.exec("INSERT INTO key SELECT v, k FROM big")
	a := h.image()
	h.exec("UPDATE big SET v = 'changed' WHERE k = 150; UPDATE key SET v = -v WHERE v = 150")
	b := h.image()
	big, key, index := h.rootOf("big"), h.rootOf("key"), h.rootOf("big_v")
	if b.page(big)[0] != 5 || b.page(key)[0] != 2 {
		t.Fatal("the trees have one level")
	}
	child := func(pgno uint32, page []byte) uint32 { // the first one
		return binary.BigEndian.Uint32(page[binary.BigEndian.Uint16(page[12:]):])
	}
	for name, damage := range map[string]func(m image){
		"the root of another kind":  func(m image) { copy(m.page(big), m.page(index)) },
		"the root of an empty page": func(m image) { clear(m.page(key)) },
		"a leaf of another kind":    func(m image) { copy(m.page(child(big, m.page(big))), m.page(child(key, m.page(key)))) },
		"a leaf of a table":         func(m image) { copy(m.page(child(key, m.page(key))), m.page(child(big, m.page(big)))) },
		"a leaf that is the root":   func(m image) { binary.BigEndian.PutUint32(m.page(big)[8:], child(big, m.page(big))) },
		"a leaf beyond the end": func(m image) {
			page := m.page(key)
			binary.BigEndian.PutUint32(page[binary.BigEndian.Uint16(page[12:]):], m.commit()+1)
		},
	} {
		bad := slices.Clone(b)
		damage(bad)
		for _, pair := range []struct {
			name     string
			from, to image
		}{{"new", empty, bad}, {"dropped", bad, empty}, {"in both", a, bad}, {"in both, before", bad, a}} {
			for _, known := range []int{0, -1} {
				var reads atomic.Int64
				if got, err := changes(t, pair.from, pair.to, &reads, known); !isCorrupt(err) {
					t.Errorf("%s, %s, known %d: %d changes, %v", name, pair.name, known, len(got), err)
				}
			}
		}
	}
}

// TestDiff_Chains damages the chain of a large value so that it never ends.
func TestDiff_Chains(t *testing.T) {
	h := plain(t, 512, false)
	blob, each := chunks(20)
	a := h.image()
	if _, err := h.db.Exec("INSERT INTO t (id, b) VALUES (1, ?)", blob); err != nil {
		t.Fatal(err)
	}
	b := h.image()
	at := bytes.Index(b, each[5]) / 512
	for next, want := range map[uint32]string{uint32(at) + 1: "is in an overflow chain twice", 0: "its overflow chain leads to page 0", b.commit() + 1: "its overflow chain leads to page"} {
		bad := slices.Clone(b)
		binary.BigEndian.PutUint32(bad[at*512:], next)
		var reads atomic.Int64
		if got, err := changes(t, a, bad, &reads, 0); !isCorrupt(err) || !strings.Contains(err.Error(), want) || reads.Load() > 200 {
			t.Errorf("a chain that leads from page %d to %d: %d changes after %d reads, %v", at+1, next, len(got), reads.Load(), err)
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

// TestDiff_Order has rows in another order than that of their keys, which is an error.
func TestDiff_Order(t *testing.T) {
	h := plain(t, 4096, false)
	h.exec("CREATE TABLE key (k PRIMARY KEY, v) WITHOUT ROWID")
	for _, table := range []string{"plain", "key"} {
		empty := h.image()
		h.exec("INSERT INTO %s VALUES (1, 10), (2, 20), (3, 30)", table)
		a := h.image()
		h.exec("INSERT INTO %s VALUES (4, 40)", table)
		b := h.image()
		root := h.rootOf(table)
		for name, swap := range map[string][2]int{"the first two": {0, 1}, "the first and the third": {0, 2}, "the last two": {2, 3}} {
			bad := slices.Clone(b)
			page := bad.page(root)
			i, k := 8+2*swap[0], 8+2*swap[1]
			page[i], page[i+1], page[k], page[k+1] = page[k], page[k+1], page[i], page[i+1]
			for what, from := range map[string]image{"other rows": a, "no rows": empty} {
				var reads atomic.Int64
				if got, err := changes(t, from, bad, &reads, -1); !isCorrupt(err) {
					t.Errorf("%s, %s, after %s: %d changes, %v", table, name, what, len(got), err)
				}
			}
		}
	}
}

// A cell without a record is damaged.
func TestDiff_NoRecord(t *testing.T) {
	h := plain(t, 4096, false)
	a := h.image()
	h.exec("INSERT INTO plain VALUES (1, 10), (2, 20)")
	b := h.image()
	page := b.page(h.rootOf("plain"))
	page[binary.BigEndian.Uint16(page[10:])] = 0 // the size of the second record
	for _, known := range []int{0, -1} {
		var reads atomic.Int64
		if got, err := changes(t, a, b, &reads, known); !isCorrupt(err) || !strings.Contains(err.Error(), "cell 1: ") || !strings.Contains(err.Error(), "it has no record") {
			t.Errorf("known %d: %d changes, %v", known, len(got), err)
		}
	}
}

// TestDiff_FullTrunk has a page of the free list with as many entries as fit, as SQLite
// before 3.6 wrote it, and one with one more, which is damaged.
func TestDiff_FullTrunk(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, x); CREATE INDEX big_x ON big (x); CREATE TABLE gone (v)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000) INSERT INTO big SELECT i, i FROM c")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 300) INSERT INTO gone SELECT randomblob(400) FROM c")
	h.exec("DROP TABLE gone")
	a := h.image()
	h.exec("UPDATE big SET x = x + 100000 WHERE k = 70")
	b := h.image()
	for entries, ok := range map[uint32]bool{0: true, 512/4 - 2: true, 512/4 - 1: false, 1<<32 - 1: false} {
		x, y := slices.Clone(a), slices.Clone(b)
		for _, m := range []image{x, y} {
			trunk := binary.BigEndian.Uint32(m[32:])
			if trunk == 0 {
				t.Fatal("there is no free list")
			}
			binary.BigEndian.PutUint32(m.page(trunk)[4:], entries)
		}
		var reads atomic.Int64
		got, err := changes(t, x, y, &reads, -1)
		if ok && (err != nil || len(got) != 1) || !ok && !isCorrupt(err) {
			t.Errorf("%d entries: %d changes, %v", entries, len(got), err)
		}
	}
}

// TestDiff_Columns says of changes which columns there are, and which of them are the key
// or generated. Virtual ones are left out.
func TestDiff_Columns(t *testing.T) {
	h := plain(t, 4096, false)
	for name, c := range map[string]struct {
		definition, insert string
		columns            string
		rowid              string // the column that is the rowid
		hasRowid           bool
		key, generated     []int
	}{
		"plain":       {"(a, b)", "(a, b) VALUES (1, 2)", "a b", "", true, nil, nil},
		"rowid":       {"(a, id INTEGER PRIMARY KEY)", "(a) VALUES (1)", "a id", "id", true, nil, nil},
		"virtual":     {"(a, v AS (a + 1), b, w AS (b), c)", "(a, b, c) VALUES (1, 2, 3)", "a b c", "", true, nil, nil},
		"stored":      {"(v AS (a + 1), s AS (a * 2) STORED, a, w AS (a), r AS (a) STORED)", "(a) VALUES (1)", "s a r", "", true, nil, []int{0, 2}},
		"rowid below": {"(id INTEGER, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "id", true, nil, nil},
		"rowid named": {"(id INTEGER CONSTRAINT c NOT NULL, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "id", true, nil, nil},
		"no type":     {"(id, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "", true, nil, nil},
		"no rowid":    {"(id INTEGER UNSIGNED, a, PRIMARY KEY (id))", "VALUES (5, 6)", "id a", "", true, nil, nil},
		"descending":  {"(id INTEGER PRIMARY KEY DESC, a)", "VALUES (5, 6)", "id a", "", true, nil, nil},
		"key twice":   {"(a, b, c, PRIMARY KEY (b, a, b)) WITHOUT ROWID", "VALUES (1, 2, 3)", "a b c", "", false, []int{1, 0}, nil},
		"two orders":  {"(a, b, PRIMARY KEY (a, b COLLATE NOCASE, b)) WITHOUT ROWID", "VALUES (1, 'x')", "a b", "", false, []int{0, 1, 1}, nil},
		"key":         {"(a, b, c, PRIMARY KEY (c, a)) WITHOUT ROWID", "VALUES (1, 2, 3)", "a b c", "", false, []int{2, 0}, nil},
		"virtual key": {"(v AS (a), a, w AS (a), b, s AS (b) STORED, PRIMARY KEY (b DESC)) WITHOUT ROWID", "(a, b) VALUES (1, 2)", "a b s", "", false, []int{1}, []int{2}},
	} {
		a := h.image()
		h.exec("CREATE TABLE x %s", c.definition)
		h.exec("INSERT INTO x %s", c.insert)
		b, after := h.image(), expected(content{}, read(t, h.db))
		h.exec("DROP TABLE x")
		var reads atomic.Int64
		rows := 0
		opts := options(a, b)
		opts.Tables = []string{"x"}
		err := rowdiff.Diff(t.Context(), a.state(&reads), b.state(&reads), opts, func(got rowdiff.Change) error {
			if got.Kind != rowdiff.Inserted {
				return nil
			}
			rows++
			if want := after[text("x", key(got), nil, got.New)]; !want {
				t.Errorf("%s: the row is %v, which SQL does not say", name, got.New)
			}
			if strings.Join(got.Columns, " ") != c.columns || len(got.New) != len(got.Columns) || got.RowidColumn != c.rowid ||
				got.HasRowid != c.hasRowid || !slices.Equal(got.Key, c.key) || !slices.Equal(got.Generated, c.generated) {
				t.Errorf("%s: %+v", name, got)
			}
			return nil
		})
		if err != nil || rows != 1 {
			t.Errorf("%s: %d rows, %v", name, rows, err)
		}
	}
}

// A key of an interior page that lacks a column leads nowhere, so that pages below it
// are not found by their keys.
func TestDiff_KeyLacksColumn(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE key (k, n, v, PRIMARY KEY (k, n)) WITHOUT ROWID")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000) INSERT INTO key SELECT 'k', 100000 + i, hex(randomblob(20)) FROM c")
	a := h.image()
	h.exec("UPDATE key SET v = upper('a') || v WHERE n = 101500")
	b := h.image()
	root := h.rootOf("key")
	for _, m := range []image{a, b} {
		page := m.page(root)
		cell := page[binary.BigEndian.Uint16(page[12:]):]
		if page[0] != 2 || cell[5] != 4 {
			t.Fatalf("page %d begins with % x", root, cell[:12])
		}
		cell[5] = 2 // the size of the header, of which two types are cut off
	}
	var reads atomic.Int64
	if got, err := changes(t, a, b, &reads, 0); !isCorrupt(err) {
		t.Errorf("%d changes, %v", len(got), err)
	}
}

// TestDiff_SameDamage has a row that cannot be read in both states. It did not change, so
// it is not looked at.
func TestDiff_SameDamage(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("INSERT INTO plain VALUES ('a text to find', 1), ('another', 2)")
	a := h.image()
	h.exec("UPDATE plain SET b = 3 WHERE a = 'another'")
	b := h.image()
	var reads atomic.Int64
	for _, both := range []bool{true, false} {
		x, y := slices.Clone(a), slices.Clone(b)
		for _, m := range []image{x, y} {
			if at := bytes.Index(m, []byte("a text to find")); both || &m[0] == &y[0] {
				m[at-2] = 11 // the serial type of the text
			}
		}
		got, err := changes(t, x, y, &reads, 0)
		if both && (err != nil || len(got) != 1) || !both && !isCorrupt(err) {
			t.Errorf("both %v: %d changes, %v", both, len(got), err)
		}
	}
}

// TestDiff_Values compares rows before and after a change, with what SQL says of both.
func TestDiff_Values(t *testing.T) {
	values := []string{"NULL", "0", "0.0", "1", "''", "x''", "'0'", "x'30'", "'text'", "x'74657874'"}
	for _, from := range values {
		h := plain(t, 4096, false)
		for i := range values {
			h.exec("INSERT INTO plain (_rowid_, a, b) VALUES (%d, %d, %s)", i+1, i, from)
		}
		a, before := h.image(), read(t, h.db)
		for i, to := range values {
			h.exec("UPDATE plain SET b = %s WHERE _rowid_ = %d", to, i+1)
		}
		b, after := h.image(), read(t, h.db)
		var reads atomic.Int64
		got, err := changes(t, a, b, &reads, 0)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "from "+from, got, expected(before, after))
		if n := len(values) - 1; len(got) != n {
			t.Errorf("from %s: %d changes, want %d", from, len(got), n)
		}
	}
}

// A column is the same one before and after by its name, or by its place if it was
// renamed.
func TestDiff_RenamedColumns(t *testing.T) {
	for _, tt := range []struct {
		name, done string
		want       int // changes of rows
	}{
		{"a column more", "ALTER TABLE u ADD COLUMN c DEFAULT 7", 0},
		{"renamed", "ALTER TABLE u RENAME COLUMN a TO c", 0},
		{"both renamed", "ALTER TABLE u RENAME COLUMN a TO c; ALTER TABLE u RENAME COLUMN b TO d", 0},
		{"dropped", "ALTER TABLE u DROP COLUMN a", 0},
		{"the first one dropped, and another one added", "ALTER TABLE u DROP COLUMN a; ALTER TABLE u ADD COLUMN c DEFAULT 7", 0},
		{"the first one dropped, and one with other values added", "ALTER TABLE u DROP COLUMN a; ALTER TABLE u ADD COLUMN c DEFAULT 7; UPDATE u SET c = 8 WHERE b = 2", 1},
		{"the last one dropped, and another one added", "ALTER TABLE u DROP COLUMN b; ALTER TABLE u ADD COLUMN c; UPDATE u SET c = a + 1", 0},
		{"made anew with another column before the first one", "DROP TABLE u; CREATE TABLE u (c, a); INSERT INTO u VALUES (NULL, 1), (NULL, 3)", 0},
		{"made anew, and one with values before the first one", "DROP TABLE u; CREATE TABLE u (c, a); INSERT INTO u VALUES (NULL, 1), (5, 3)", 1},
	} {
		h := plain(t, 4096, false)
		h.exec("CREATE TABLE u (a, b); INSERT INTO u VALUES (1, 2), (3, 4)")
		a := h.image()
		h.exec("%s", tt.done)
		b := h.image()
		for _, known := range []int{0, -1} {
			var reads atomic.Int64
			got, err := changes(t, a, b, &reads, known)
			if err != nil || len(got) != 1+tt.want {
				t.Errorf("%s, known %d: %q, %v; want %d changes of rows", tt.name, known, got, err, tt.want)
			}
		}
	}
}

func isCorrupt(err error) bool {
	return errors.Is(err, errs.ErrCorrupt) || errors.Is(err, errors.ErrUnsupported)
}

// key returns the key of a row in the form of text.
func key(c rowdiff.Change) string {
	if c.HasRowid {
		return fmt.Sprint(c.Rowid)
	}
	return ""
}
