package btree

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// buildFrom builds a database with the given statements.
func buildFrom(t *testing.T, pageSize, reserved int, statements ...string) *file {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := sqlitetest.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	reserve(t, db, reserved)
	statements = append([]string{"PRAGMA synchronous = OFF", fmt.Sprintf("PRAGMA page_size = %d", pageSize)}, statements...)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	f := &file{db: db, pageSize: pageSize, usable: pageSize - reserved, roots: make(map[string]uint32)}
	if f.data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if n, ok := UsableSize(f.data); !ok || n != f.usable {
		t.Fatalf("usable size %d, %v", n, ok)
	}
	f.readRoots(t)
	return f
}

// lastInteger returns the last column of the record in cell i of a page of an
// index. In an ordinary secondary index it is the rowid of the row. The result is
// false if the record is not completely on this page or if its last column is not
// an integer. Cells of interior pages are index entries, too.
func lastInteger(p Page, i int) (int64, bool) {
	at, ok := p.payload(i)
	if !ok || at.local != at.size || p.kind != LeafIndex && p.kind != InteriorIndex {
		return 0, false
	}
	rec := p.data[at.off : at.off+at.size]
	var last column
	if !eachColumn(rec, func(c column) bool { last = c; return true }) || last.end != len(rec) {
		return 0, false
	}
	return integer(rec, last.serial)
}

// integerAt returns column n of the record in cell i, false if it is not an integer.
func integerAt(p Page, i, n int) (int64, bool) {
	v, ok := p.Value(i, n)
	k, isInteger := v.Integer()
	return k, ok && isInteger
}

// pages calls fn for the pages of a b-tree.
func (f *file) pages(t *testing.T, root uint32, fn func(pgno uint32, p Page)) {
	t.Helper()
	p, ok := Parse(f.page(t, root), root, f.usable)
	if !ok {
		t.Fatalf("page %d refused", root)
	}
	fn(root, p)
	for i := range p.Children() {
		f.pages(t, p.Child(i), fn)
	}
}

// rows returns the columns of each row with their types, as text. The first
// column must be a rowid, which is the key of the map.
func (f *file) rows(t *testing.T, query string) map[int64][]string {
	t.Helper()
	rows, err := f.db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	values, dest := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	all := make(map[int64][]string)
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, v := range values[1:] {
			if x, ok := v.(float64); ok {
				v = math.Float64bits(x)
				texts = append(texts, fmt.Sprintf("real %v", v))
				continue
			}
			texts = append(texts, fmt.Sprintf("%T %v", v, v))
		}
		all[values[0].(int64)] = texts
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestValue_Roots reads root page numbers from sqlite_schema.
func TestValue_Roots(t *testing.T) {
	for _, size := range []struct{ page, reserved int }{{512, 0}, {512, 32}, {4096, 0}, {65536, 0}} {
		t.Run(fmt.Sprintf("%d-%d", size.page, size.reserved), func(t *testing.T) {
			statements := []string{"PRAGMA auto_vacuum = FULL", "BEGIN"}
			for i := range 60 {
				table := fmt.Sprintf("t%s_%d", strings.Repeat("x", i%20*10), i)
				statements = append(statements,
					fmt.Sprintf("CREATE TABLE %s (a PRIMARY KEY, b UNIQUE, %s)", table, columns(1+i%50*3)),
					fmt.Sprintf("CREATE INDEX i%d ON %s (a, b)", i, table),
					fmt.Sprintf("CREATE VIEW v%d AS SELECT * FROM %s", i, table))
			}
			long := strings.Repeat("y", 600)
			statements = append(statements, "CREATE TABLE "+long+" (a)", "DROP TABLE t_0", "COMMIT")
			f := buildFrom(t, size.page, size.reserved, statements...)
			want := make(map[int64]int64)
			for rowid, columns := range f.rows(t, "SELECT rowid, rootpage FROM sqlite_schema") {
				var root int64
				if _, err := fmt.Sscanf(columns[0], "int64 %d", &root); err != nil {
					t.Fatal(err)
				}
				want[rowid] = root
			}
			found, hidden, over := 0, 0, 0
			f.pages(t, 1, func(pgno uint32, p Page) {
				for i := range p.Cells() {
					root, ok := integerAt(p, i, 3)
					rowid, _ := p.Rowid(i)
					_, _, overflows := p.Overflow(i)
					switch {
					case p.Kind() != LeafTable:
						if ok {
							t.Errorf("page %d: an interior page has records", pgno)
						}
						continue
					case !ok && overflows:
						hidden++
						continue
					case !ok || root != want[rowid]:
						t.Errorf("page %d: root %d, %v, want %d", pgno, root, ok, want[rowid])
					}
					found++
					if overflows {
						over++
					}
					if n, ok := integerAt(p, i, Rowid); !ok || n != rowid {
						t.Errorf("page %d: the rowid is %d, %v, want %d", pgno, n, ok, rowid)
					}
					for _, column := range []int{-2, 0, 1, 2, 4, 5, 99} {
						if n, ok := integerAt(p, i, column); ok {
							t.Errorf("page %d: column %d is %d", pgno, column, n)
						}
					}
				}
				if _, ok := integerAt(p, -1, 3); ok {
					t.Errorf("page %d: a cell that is none", pgno)
				}
				if _, ok := integerAt(p, p.Cells(), 3); ok {
					t.Errorf("page %d: a cell that is none", pgno)
				}
			})
			if found+hidden != len(want) {
				t.Errorf("%d roots, %d hidden, want %d", found, hidden, len(want))
			}
			// A name may be so long that the root page number is on another
			// page.
			if size.page == 512 && (over < 20 || hidden == 0 || hidden > 40) || size.page > 512 && hidden != 0 {
				t.Errorf("%d records overflow, of %d the root is hidden", over, hidden)
			}
		})
	}
}

// leafOf returns a page of a table with one row, of whose record a part is in an
// overflow chain that begins at a page.
func leafOf(t *testing.T, size, local int, first byte) Page {
	t.Helper()
	data := make([]byte, 512)
	at := len(data) - (2 + 1 + local + 4)
	data[0], data[4] = byte(LeafTable), 1
	data[5], data[6], data[8], data[9] = byte(at>>8), byte(at), byte(at>>8), byte(at)
	data[at], data[at+1], data[at+2] = 0x80|byte(size>>7), byte(size&0x7f), 1
	data[len(data)-1] = first
	p, ok := Parse(data, 2, len(data))
	if !ok || p.Cells() != 1 {
		t.Fatalf("page has %d cells, %v", p.Cells(), ok)
	}
	return p
}

// TestPage_Overflow reads where the rest of a record is. A page of a chain has 508
// bytes of it, and the part in the cell is so long that they are full if it can be.
func TestPage_Overflow(t *testing.T) {
	for _, tt := range []struct{ size, local, pages int }{{1000, 39, 2}, {1055, 39, 2}, {1056, 40, 2}, {1057, 41, 2}, {478, 39, 1}} {
		if first, pages, ok := leafOf(t, tt.size, tt.local, 9).Overflow(0); first != 9 || pages != tt.pages || !ok {
			t.Errorf("%d bytes: %d pages from %d on, %v; want %d", tt.size, pages, first, ok, tt.pages)
		}
	}
	// A cell without the number of the first page of its chain has no chain.
	p := leafOf(t, 1000, 39, 0)
	if first, pages, ok := p.Overflow(0); first != 0 || pages != 0 || ok {
		t.Errorf("a chain without a page: %d pages from %d on, %v", pages, first, ok)
	}
	if first, pages, ok := p.Overflow(1); first != 0 || pages != 0 || ok {
		t.Errorf("a cell that there is not: %d pages from %d on, %v", pages, first, ok)
	}
	if rowid, ok := p.Rowid(0); rowid != 1 || !ok {
		t.Errorf("rowid %d, %v", rowid, ok)
	}
	if rowid, ok := p.Rowid(1); rowid != 0 || ok {
		t.Errorf("a cell that there is not: rowid %d, %v", rowid, ok)
	}
}

func TestIsLeaf(t *testing.T) {
	for kind := range 256 {
		want := Kind(kind) == LeafTable || Kind(kind) == LeafIndex
		if IsLeaf([]byte{byte(kind), 0}) != want {
			t.Errorf("kind %d: %v", kind, !want)
		}
	}
	if IsLeaf(nil) {
		t.Error("a page of no bytes is a leaf")
	}
}
