package btree

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestSQLiteDatabases(t *testing.T) {
	for _, tc := range shapes {
		t.Run(tc.name, func(t *testing.T) {
			f := build(t, tc)
			if want := tc.pageSize - tc.reserved; f.usable != want {
				t.Fatalf("usable size %d, want %d", f.usable, want)
			}
			w := &walker{file: f, owner: make(map[uint32]string)}
			w.table(t, "sqlite_schema", 1)
			for _, table := range []string{"t", "sparse", "hollow", "big"} {
				w.table(t, table, f.roots[table])
			}
			for _, index := range []string{"t_name", "t_number", "t_unique"} {
				w.index(t, index, f.roots[index], "t", false)
			}
			w.index(t, "t_long", f.roots["t_long"], "t", true)
			w.withoutRowid(t, "w", f.roots["w"])
			for name, root := range f.roots {
				if strings.HasPrefix(name, "filler") {
					w.table(t, name, root)
				}
			}
			if free := f.number(t, "PRAGMA freelist_count"); len(w.owner)+free != len(f.data)/f.pageSize {
				t.Errorf("%d pages found, %d free, of %d", len(w.owner), free, len(f.data)/f.pageSize)
			}
			if w.interior == 0 || w.chains == 0 || w.deepest < tc.depth {
				t.Errorf("%d interior pages, %d chains, depth %d: the database is too small", w.interior, w.chains, w.deepest)
			}
			w.dbstat(t)
		})
	}
}

// Every page of a database that is not a b-tree page must be refused, unless it
// is on the freelist and has the content of a b-tree page.
func TestParseRefusesOtherPages(t *testing.T) {
	for _, tc := range shapes {
		tc.autoVacuum = true
		t.Run(tc.name, func(t *testing.T) {
			f := build(t, tc)
			// Page 2 is the first pointer map page.
			every := uint32(f.usable/5 + 1)
			for pgno := uint32(2); int(pgno)*f.pageSize <= len(f.data); pgno += every {
				if p, ok := Parse(f.page(t, pgno), pgno, f.usable); ok {
					t.Errorf("pointer map page %d is kind %d with %d cells", pgno, p.Kind(), p.Cells())
				}
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	good := interiorTable(4096, 3, 10)
	for name, change := range map[string]func(b []byte){
		"kind":                       func(b []byte) { b[0] = 4 },
		"no right-most child":        func(b []byte) { clear(b[8:12]) },
		"right-most child is itself": func(b []byte) { binary.BigEndian.PutUint32(b[8:], 3) },
		"no cells":                   func(b []byte) { clear(b[3:5]) },
		"cells beyond the content":   func(b []byte) { binary.BigEndian.PutUint16(b[3:], 2041) },
		"too many for the content":   func(b []byte) { binary.BigEndian.PutUint16(b[5:], 4096-39) },
		"content in the header":      func(b []byte) { binary.BigEndian.PutUint16(b[5:], 31) },
		"content beyond the page":    func(b []byte) { clear(b[5:7]) },
		"freeblock before content":   func(b []byte) { binary.BigEndian.PutUint16(b[1:], 40) },
		"freeblock beyond the page":  func(b []byte) { binary.BigEndian.PutUint16(b[1:], 4093) },
		"fragmented bytes":           func(b []byte) { b[7] = 61 },
		"first cell before content":  func(b []byte) { binary.BigEndian.PutUint16(b[12:], 20) },
		"last cell beyond the page":  func(b []byte) { binary.BigEndian.PutUint16(b[30:], 4093) },
	} {
		t.Run(name, func(t *testing.T) {
			b := slices.Clone(good)
			if _, ok := Parse(b, 3, 4096); !ok {
				t.Fatal("refused before the change")
			}
			if change(b); name == "too many for the content" {
				binary.BigEndian.PutUint16(b[12:], 4096-20)
				binary.BigEndian.PutUint16(b[30:], 4096-10)
			}
			if _, ok := Parse(b, 3, 4096); ok {
				t.Error("accepted")
			}
		})
	}
	for _, tc := range []struct {
		name   string
		data   []byte
		pgno   uint32
		usable int
	}{
		{"page 0", good, 0, 4096},
		{"too short", good[:4095], 3, 4096},
		{"nothing", nil, 3, 4096},
		{"usable 0", good, 3, 0},
		{"usable negative", good, 3, -1},
		{"usable too small", good, 3, 479},
		{"usable too large", append([]byte{byte(LeafTable)}, make([]byte, 1<<17)...), 3, 65537},
	} {
		if _, ok := Parse(tc.data, tc.pgno, tc.usable); ok {
			t.Errorf("%s: accepted", tc.name)
		}
	}
	schema := make([]byte, 512)
	for kind, want := range map[Kind]bool{LeafTable: true, InteriorTable: true, LeafIndex: false, InteriorIndex: false} {
		copy(schema[100:], []byte{byte(kind), 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 9})
		if p, ok := Parse(schema, 1, 512); ok != want {
			t.Errorf("page 1 of kind %d: %v", kind, ok)
		} else if kind == InteriorTable && (p.Children() != 1 || p.Child(0) != 9 || p.IndexOf(9) != 0 || p.ChildFor(1) != 0) {
			t.Error("page 1 with a single child: wrong child")
		}
	}
}

// A cell that cannot be there, between others, is no child.
func TestIndexOf_CellBeyondPage(t *testing.T) {
	for at := 4096 - minCellSize - 1; at < 4200; at++ {
		b := interiorTable(4096, 3, 10)
		binary.BigEndian.PutUint16(b[12+2*4:], uint16(at))
		if at+4 <= len(b) {
			binary.BigEndian.PutUint32(b[at:], 77)
		}
		p, ok := Parse(b, 3, 4096)
		if !ok {
			t.Fatalf("cell at %d: refused", at)
		}
		want := -1
		if at+minCellSize <= len(b) {
			want = 4
		}
		if got := p.IndexOf(77); got != want {
			t.Errorf("a cell at %d is that of child %d, want %d", at, got, want)
		}
		if got := p.IndexOf(100 + 10); got != 10 {
			t.Errorf("a cell at %d: the last child is number %d", at, got)
		}
	}
}

func TestParseAcceptsLimits(t *testing.T) {
	b := interiorTable(4096, 3, 10)
	binary.BigEndian.PutUint16(b[1:], 4096-4)  // the last possible place of a freeblock
	binary.BigEndian.PutUint16(b[30:], 4096-4) // the last possible place of a cell
	binary.BigEndian.PutUint32(b[4096-4:], 77)
	b[7] = 60
	p, ok := Parse(b, 3, 4096)
	if !ok {
		t.Fatal("refused")
	}
	if k, ok := p.Key(3); !ok || k.Compare(IntegerValue(30)) != 0 {
		t.Errorf("key 3 is %v, %v", k, ok)
	}
	if p.Child(9) != 77 || p.IndexOf(77) != 9 {
		t.Errorf("last cell is of child %d, which is child %d", p.Child(9), p.IndexOf(77))
	}
	if _, ok := p.Rowid(9); ok {
		t.Error("a key beyond the page")
	}
}

func TestRandomPagesRarelyPass(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for pageSize, most := range map[int]int{512: 0, 4096: 0, 65536: 60} {
		b := make([]byte, pageSize)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		passed := 0
		for range 200_000 {
			binary.LittleEndian.PutUint64(b, rng.Uint64())
			binary.LittleEndian.PutUint64(b[8:], rng.Uint64())
			binary.LittleEndian.PutUint64(b[8*rng.IntN(pageSize/8):], rng.Uint64())
			if _, ok := Parse(b, 2, pageSize); ok {
				passed++
			}
		}
		if passed > most {
			t.Errorf("%d of 200000 random pages of %d bytes passed", passed, pageSize)
		}
	}
}

func TestChildFor(t *testing.T) {
	p, ok := Parse(interiorTable(512, 3, 10), 3, 512) // the keys are 0, 10, ..., 90
	if !ok {
		t.Fatal("refused")
	}
	for rowid, want := range map[int64]int{
		math.MinInt64: 0, -1: 0, 0: 0, 1: 1, 10: 1, 11: 2, 89: 9, 90: 9, 91: 10, math.MaxInt64: 10,
	} {
		if got := p.ChildFor(rowid); got != want {
			t.Errorf("child for %d is %d, want %d", rowid, got, want)
		}
	}
	if p.Child(-1) != 0 || p.Child(11) != 0 || p.IndexOf(0) != -1 || p.IndexOf(99) != -1 {
		t.Error("children that are none")
	}
}

func TestVarint(t *testing.T) {
	for _, tc := range []struct {
		b    string
		want uint64
		next int
	}{
		{"\x00", 0, 1},
		{"\x7f\xff", 0x7f, 1},
		{"\x81\x00", 0x80, 2},
		{"\xff\x7f", 0x3fff, 2},
		{"\x80\x81\x00", 0x80, 3},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff", math.MaxUint64, 9},
		{"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 0x80, 9},
		{"\xff\xff\xff\xff\xff\xff\xff\x7f", 1<<56 - 1, 8},
		{"", 0, 0},
		{"\x80", 0, 0},
		{"\xff\xff\xff\xff\xff\xff\xff\xff", 0, 0},
	} {
		if v, next := Varint([]byte(tc.b), 0); v != tc.want || next != tc.next {
			t.Errorf("varint %x is %d, %d, want %d, %d", tc.b, v, next, tc.want, tc.next)
		}
	}
	if _, next := Varint([]byte{1}, -1); next != 0 {
		t.Error("varint at a negative offset")
	}
}

func TestOddRecords(t *testing.T) {
	for _, tc := range []struct {
		name, record string
		want         int64
		ok           bool
	}{
		{"one byte", "\x03\x01\x01\x05\xfe", -2, true},
		{"constant 0", "\x02\x08", 0, true},
		{"constant 1", "\x03\x0f\x09x", 1, true},
		{"six bytes", "\x02\x05\xff\xff\xff\xff\xff\x00", -256, true},
		{"eight bytes", "\x02\x06\x80\x00\x00\x00\x00\x00\x00\x00", math.MinInt64, true},
		{"null", "\x02\x00", 0, false},
		{"float", "\x02\x07\x00\x00\x00\x00\x00\x00\x00\x00", 0, false},
		{"text", "\x02\x0fx", 0, false},
		{"reserved type", "\x02\x0a", 0, false},
		{"no columns", "\x01", 0, false},
		{"header size 0", "\x00\x01\x05", 0, false},
		{"header beyond the record", "\x05\x01\x05", 0, false},
		{"body too short", "\x02\x02\x05", 0, false},
		{"body too long", "\x02\x01\x05\x05", 0, false},
		{"type beyond the header", "\x02\x81\x00", 0, false},
		{"huge column", "\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x08", 0, false},
	} {
		b := make([]byte, 512)
		off := len(b) - 1 - len(tc.record)
		if len(tc.record) < 3 {
			off-- // a cell has at least four bytes
		}
		if len(tc.record) < 2 {
			off--
		}
		copy(b, []byte{byte(LeafIndex), 0, 0, 0, 1, byte(off >> 8), byte(off), 0, byte(off >> 8), byte(off), byte(len(tc.record))})
		b[off] = byte(len(tc.record))
		copy(b[off+1:], tc.record)
		p, ok := Parse(b, 2, 512)
		if !ok {
			t.Fatalf("%s: page refused", tc.name)
		}
		if got, ok := lastInteger(p, 0); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %d, %v, want %d, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestUsableSize(t *testing.T) {
	head := func(hi, lo, reserved byte) []byte {
		b := make([]byte, 100)
		copy(b, "SQLite format 3\x00")
		b[16], b[17], b[20] = hi, lo, reserved
		return b
	}
	for _, tc := range []struct {
		b    []byte
		want int
		ok   bool
	}{
		{head(0x10, 0, 0), 4096, true},
		{head(0, 1, 0), 65536, true},
		{head(0, 1, 8), 65528, true},
		{head(2, 0, 32), 480, true},
		{head(2, 0, 33), 0, false},
		{head(1, 0, 0), 0, false},
		{head(0x10, 1, 0), 0, false},
		{head(0, 0, 0), 0, false},
		{head(0x10, 0, 0)[:99], 0, false},
		{make([]byte, 100), 0, false},
		{nil, 0, false},
	} {
		if got, ok := UsableSize(tc.b); got != tc.want || ok != tc.ok {
			t.Errorf("%d, %v, want %d, %v", got, ok, tc.want, tc.ok)
		}
	}
}

// callAll calls every method with every cell of a page and with some cells that
// do not exist.
func callAll(p Page) (sum int) {
	for i := -1; i <= p.Cells()+1; i++ {
		child := p.Child(i)
		rowid, ok := p.Rowid(i)
		entry, _ := lastInteger(p, i)
		first, pages, _ := p.Overflow(i)
		sum += int(child) + int(rowid) + int(entry) + pages
		p.Values(i, func(column int, v Value) bool {
			first, end, _ := p.Range(v)
			sum += column + first + end
			return true
		})
		if key, ok := p.Key(i); ok {
			sum += key.Compare(key)
		}
		if v, ok := p.Value(i, 1); ok {
			sum += v.Compare(IntegerValue(1))
		}
		if cell, ok := p.Row(rowid); ok {
			sum += cell
		}
		if i < 4 || i >= p.Cells()-2 || i%64 == 0 {
			sum += p.IndexOf(child) + p.OverflowFrom(first)
		}
		if ok {
			sum += p.ChildFor(rowid)
			if holds(p, rowid) {
				sum++
			}
		}
	}
	for _, rowid := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		if holds(p, rowid) {
			sum += p.ChildFor(rowid)
		}
	}
	return sum + p.Children() + int(p.Kind()) + p.IndexOf(0) + p.IndexOf(math.MaxUint32) + p.OverflowFrom(0)
}

// holds reports whether a cell of a leaf of a table has the given rowid.
func holds(p Page, rowid int64) bool {
	if p.kind != LeafTable {
		return false
	}
	key, ok := p.Rowid(p.search(rowid))
	return ok && key == rowid
}

func TestNoAllocations(t *testing.T) {
	f := build(t, shapes[0])
	for pgno := uint32(1); int(pgno)*f.pageSize <= len(f.data); pgno += 7 {
		data := f.page(t, pgno)
		if n := testing.AllocsPerRun(1, func() {
			p, _ := Parse(data, pgno, f.usable)
			callAll(p)
			UsableSize(data)
		}); n != 0 {
			t.Fatalf("page %d: %v allocations", pgno, n)
		}
	}
}

func TestZeroPage(t *testing.T) {
	callAll(Page{})
	var p Page
	if p.Kind() != 0 || p.Cells() != 0 || p.Children() != 0 || p.IndexOf(1) != -1 || p.ChildFor(1) != -1 {
		t.Error("the zero page has something")
	}
}

func FuzzParse(f *testing.F) {
	for _, tc := range shapes[:2] {
		db := build(f, tc)
		for pgno := uint32(1); pgno < 40 && int(pgno)*db.pageSize <= len(db.data); pgno++ {
			f.Add(db.page(f, pgno), pgno, db.usable)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, pgno uint32, usable int) {
		UsableSize(data)
		p, ok := Parse(data, pgno, usable)
		if !ok && p.Kind() != 0 {
			t.Fatal("a page that is none has a kind")
		}
		callAll(p)
		for i := range p.Children() {
			if child := p.Child(i); child != 0 {
				if j := p.IndexOf(child); j < 0 || j > i || p.Child(j) != child {
					t.Fatalf("child %d is page %d, which is child %d", i, child, j)
				}
			}
		}
		for i := range p.Cells() {
			first, pages, ok := p.Overflow(i)
			if ok && (first == 0 || pages < 1 || p.OverflowFrom(first) == 0) {
				t.Fatalf("cell %d overflows to %d pages from %d", i, pages, first)
			}
			if _, is := lastInteger(p, i); is && ok {
				t.Fatalf("cell %d overflows and has a rowid", i)
			}
		}
	})
}

// interiorTable returns a page with the keys 0, 10, 20, ... and the children
// 100, 101, ...
func interiorTable(usable int, pgno uint32, cells int) []byte {
	b := make([]byte, usable)
	b[0] = byte(InteriorTable)
	binary.BigEndian.PutUint16(b[3:], uint16(cells))
	binary.BigEndian.PutUint32(b[8:], 100+uint32(cells))
	end := usable
	for i := range cells {
		key := 10 * i
		end -= 6
		binary.BigEndian.PutUint32(b[end:], 100+uint32(i))
		b[end+4], b[end+5] = byte(key>>7)|0x80, byte(key&0x7f)
		binary.BigEndian.PutUint16(b[12+2*i:], uint16(end))
	}
	binary.BigEndian.PutUint16(b[5:], uint16(end))
	return b
}

var sink int

func BenchmarkParseChild(b *testing.B) {
	data := interiorTable(4096, 3, 500)
	for i := 0; b.Loop(); i++ {
		p, _ := Parse(data, 3, 4096)
		sink += int(p.Child(i % 500))
	}
}

func BenchmarkParseChildFor(b *testing.B) {
	data := interiorTable(4096, 3, 500)
	for i := 0; b.Loop(); i++ {
		p, _ := Parse(data, 3, 4096)
		sink += p.ChildFor(int64(i*7919) % 5000)
	}
}

func BenchmarkIndexOf(b *testing.B) {
	p, _ := Parse(interiorTable(4096, 3, 500), 3, 4096)
	for _, bc := range []struct {
		name  string
		child uint32
	}{{"first", 100}, {"middle", 350}, {"none", 1}} {
		b.Run(bc.name, func(b *testing.B) {
			for b.Loop() {
				sink += p.IndexOf(bc.child)
			}
		})
	}
}
