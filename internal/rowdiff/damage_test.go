package rowdiff_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/errs"
)

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

// TestDiff_UnevenTree has a leaf where its neighbours are interior pages, which is an
// error.
func TestDiff_UnevenTree(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO big SELECT i, hex(randomblob(20)) FROM c")
	a := h.image()
	h.exec("UPDATE big SET v = 'changed' WHERE k IN (2500, 4999)")
	b := h.image()
	root := b.page(h.rootOf("big"))
	last := binary.BigEndian.Uint32(root[8:])
	first := binary.BigEndian.Uint32(root[binary.BigEndian.Uint16(root[12:]):])
	if b.page(last)[0] != 5 || b.page(first)[0] != 5 {
		t.Fatal("the tree has two levels")
	}
	leaf := binary.BigEndian.Uint32(b.page(last)[8:])
	bad := slices.Clone(b)
	copy(bad.page(last), b.page(leaf))
	var reads atomic.Int64
	for _, known := range []int{0, -1} {
		for _, pair := range [][2]image{{a, bad}, {bad, a}} {
			if got, err := changes(t, pair[0], pair[1], &reads, known); !isCorrupt(err) || !strings.Contains(err.Error(), "is of another kind than its neighbours") {
				t.Errorf("known %d: %d changes, %v", known, len(got), err)
			}
		}
	}
}

// Two equal keys of an interior page, and a row of the schema that cannot be read, are
// errors.
func TestDiff_DamagedKeys(t *testing.T) {
	h := plain(t, 512, false)
	h.exec("CREATE TABLE big (k INTEGER PRIMARY KEY, v)")
	h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 500) INSERT INTO big SELECT i, hex(randomblob(20)) FROM c")
	a := h.image()
	h.exec("UPDATE big SET v = upper('x') || substr(v, 2) WHERE k = 400")
	b := h.image()
	root := h.rootOf("big")
	var reads atomic.Int64
	x, y := slices.Clone(a), slices.Clone(b)
	for _, m := range []image{x, y} {
		page := m.page(root)
		if page[0] != 5 {
			t.Fatal("the tree has one level")
		}
		at := func(i int) []byte { return page[binary.BigEndian.Uint16(page[12+2*i:])+4:][:2] } // the key of a cell
		if at(20)[0] < 0x80 || at(21)[0] < 0x80 {
			t.Fatalf("keys % x and % x have one byte", at(20), at(21))
		}
		copy(at(21), at(20))
	}
	if got, err := changes(t, x, y, &reads, 0); !isCorrupt(err) || !strings.Contains(err.Error(), "are not in order") {
		t.Errorf("equal keys: %d changes, %v", len(got), err)
	}
	bad := slices.Clone(b)
	text := bytes.Index(bad, []byte("tablebigbig"))
	if text < 7 || bad[text-5] != 23 {
		t.Fatalf("the record of the schema begins with % x", bad[text-8:text])
	}
	bad[text-5] = 11 // a type that no record has
	for _, pair := range [][2]image{{a, bad}, {bad, b}} {
		if got, err := changes(t, pair[0], pair[1], &reads, 0); !isCorrupt(err) || !strings.Contains(err.Error(), "read the schema: ") {
			t.Errorf("a damaged schema: %d changes, %v", len(got), err)
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

func isCorrupt(err error) bool {
	return errors.Is(err, errs.ErrCorrupt) || errors.Is(err, errors.ErrUnsupported)
}
