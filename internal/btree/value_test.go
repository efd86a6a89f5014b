package btree

import (
	"fmt"
	"strings"
	"testing"
)

// String returns a value in the form of file.rows.
func (v Value) String() string {
	switch v.class {
	case integerValue:
		return fmt.Sprintf("int64 %d", v.i)
	case textValue:
		return "string " + string(v.b)
	case blobValue:
		return fmt.Sprintf("[]uint8 %v", v.b)
	}
	return "none"
}

// TestValues_EveryType compares every value of records of all types with SQL.
func TestValues_EveryType(t *testing.T) {
	f := buildFrom(t, 4096, 0,
		"CREATE TABLE t (a, b, c, d, e)",
		"CREATE INDEX t_all ON t (e, d, c, b, a)",
		`WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 799) INSERT INTO t SELECT
			i % 4, -(1 << (i % 63)), (1 << (i % 64)) - i % 2,
			CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN 'text' || i WHEN 2 THEN x'0102' WHEN 3 THEN 0.5 ELSE i END, ~i FROM n`)
	for name, columns := range map[string]string{"t": "a, b, c, d, e", "t_all": "e, d, c, b, a, rowid"} {
		want := f.rows(t, "SELECT rowid, "+columns+" FROM t")
		cells := 0
		f.pages(t, f.roots[name], func(pgno uint32, p Page) {
			for i := range p.Cells() {
				if p.Kind() == InteriorTable {
					p.Values(i, func(int, Value) bool { t.Fatal("an interior page of a table has values"); return false })
					continue
				}
				rowid, _ := lastInteger(p, i)
				got := make(map[int]Value)
				p.Values(i, func(column int, v Value) bool { got[column] = v; return true })
				if name == "t" {
					rowid, _ = got[Rowid].Integer()
					delete(got, Rowid)
				}
				cells++
				for column, text := range want[rowid] {
					v, ok := p.Value(i, column)
					if isNone := !strings.HasPrefix(text, "real") && text != "<nil> <nil>"; ok != isNone || ok && v.String() != text {
						t.Errorf("%s: page %d: column %d is %v, %v, want %s", name, pgno, column, v, ok, text)
					}
					if u, listed := got[column]; listed != ok || ok && u.Compare(v) != 0 {
						t.Errorf("%s: page %d: column %d is listed as %v, %v", name, pgno, column, u, listed)
					}
					delete(got, column)
				}
				if len(got) > 0 {
					t.Errorf("%s: page %d has other columns: %v", name, pgno, got)
				}
			}
		})
		if cells != 800 {
			t.Errorf("%s: %d cells", name, cells)
		}
	}
}

// TestRange_OfEveryKey compares the ranges of the keys of an index in each of
// its pages with the cells that have the key.
func TestRange_OfEveryKey(t *testing.T) {
	f := buildFrom(t, 512, 0,
		"CREATE TABLE t (a)",
		"CREATE INDEX t_a ON t (a)",
		`WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 2999) INSERT INTO t SELECT
			CASE i % 7 WHEN 0 THEN NULL WHEN 1 THEN 'text' || (i % 90) WHEN 2 THEN CAST('blob' || (i % 50) AS BLOB) ELSE i % 400 - 100 END FROM n`)
	var keys []Value
	f.pages(t, f.roots["t_a"], func(_ uint32, p Page) {
		for i := range p.Cells() {
			if v, ok := p.Value(i, 0); ok {
				keys = append(keys, v)
			}
		}
	})
	keys = append(keys, IntegerValue(-1000), IntegerValue(1000), Value{class: textValue}, Value{class: blobValue, b: []byte{255}})
	seen, ranges := make(map[string]bool), 0
	for _, key := range keys {
		if seen[key.String()] {
			continue
		}
		seen[key.String()] = true
		f.pages(t, f.roots["t_a"], func(pgno uint32, p Page) {
			first, end, ok := p.Range(key)
			if !ok {
				t.Fatalf("page %d has no range for %v", pgno, key)
			}
			ranges++
			for i := range p.Cells() {
				v, ok := p.Value(i, 0)
				order := -1 // NULL comes first
				if ok {
					order = v.Compare(key)
				}
				if (order >= 0) != (i >= first) || (order > 0) != (i >= end) {
					t.Fatalf("page %d: cell %d, %v, compares as %d to %v, whose range is %d to %d", pgno, i, v, order, key, first, end)
				}
			}
		})
	}
	if len(seen) < 500 || ranges < 10000 {
		t.Errorf("%d keys, %d ranges", len(seen), ranges)
	}
	f.pages(t, f.roots["t"], func(pgno uint32, p Page) {
		if _, _, ok := p.Range(IntegerValue(1)); ok {
			t.Errorf("page %d of a table has a range", pgno)
		}
	})
}

// TestRow_OfEveryRowid looks up rows in the leaves of a table.
func TestRow_OfEveryRowid(t *testing.T) {
	f := buildFrom(t, 512, 0, "CREATE TABLE t (a)",
		`WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 999) INSERT INTO t (rowid, a) SELECT 3 * i - 500, i FROM n`)
	rows := 0
	f.pages(t, f.roots["t"], func(pgno uint32, p Page) {
		for i := range p.Cells() {
			rowid, _ := p.Rowid(i)
			cell, ok := p.Row(rowid)
			if ok != (p.Kind() == LeafTable) || ok && cell != i {
				t.Errorf("page %d: row %d is in cell %d, %v", pgno, rowid, cell, ok)
			}
			if _, ok := p.Row(rowid + 1); ok {
				t.Errorf("page %d has row %d", pgno, rowid+1)
			}
			if ok {
				rows++
			}
		}
	})
	if rows != 1000 {
		t.Errorf("%d rows", rows)
	}
}
