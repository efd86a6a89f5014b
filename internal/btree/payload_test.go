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

// TestInt_Roots reads root page numbers from sqlite_schema.
func TestInt_Roots(t *testing.T) {
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
					root, ok := p.Int(i, 3)
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
					for _, column := range []int{-1, 0, 1, 2, 4, 5, 99} {
						if n, ok := p.Int(i, column); ok {
							t.Errorf("page %d: column %d is %d", pgno, column, n)
						}
					}
				}
				if _, ok := p.Int(-1, 3); ok {
					t.Errorf("page %d: a cell that is none", pgno)
				}
				if _, ok := p.Int(p.Cells(), 3); ok {
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

// TestInt_Values reads every column of records of all types.
func TestInt_Values(t *testing.T) {
	f := buildFrom(t, 4096, 0,
		"CREATE TABLE t (a, b, c, d, e)",
		"CREATE INDEX t_all ON t (e, d, c, b, a)",
		`WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < 799) INSERT INTO t SELECT
			i % 4, -(1 << (i % 63)), (1 << (i % 64)) - i % 2,
			CASE i % 5 WHEN 0 THEN NULL WHEN 1 THEN 'text' WHEN 2 THEN x'0102' WHEN 3 THEN 0.5 ELSE i END, ~i FROM n`)
	for name, columns := range map[string]string{"t": "a, b, c, d, e", "t_all": "e, d, c, b, a"} {
		want := f.rows(t, "SELECT rowid, "+columns+", rowid FROM t")
		ints, cells := 0, 0
		f.pages(t, f.roots[name], func(pgno uint32, p Page) {
			for i := range p.Cells() {
				rowid, ok := p.IndexRowid(i)
				if name == "t" {
					if rowid, ok = p.Rowid(i); p.Kind() == InteriorTable {
						continue
					}
				}
				if !ok {
					t.Fatalf("%s: page %d: no rowid", name, pgno)
				}
				cells++
				if _, ok := p.Int(i, -1); ok {
					t.Errorf("%s: page %d: a column before the first", name, pgno)
				}
				for column, text := range want[rowid] {
					if name == "t" && column == 5 {
						text = "none"
					}
					n, ok := p.Int(i, column)
					if is := strings.HasPrefix(text, "int64 "); ok != is || is && fmt.Sprintf("int64 %d", n) != text {
						t.Errorf("%s: page %d: column %d is %d, %v, want %s", name, pgno, column, n, ok, text)
					} else if ok {
						ints++
					}
				}
			}
		})
		if cells != 800 || ints < 4*cells {
			t.Errorf("%s: %d integers in %d cells", name, ints, cells)
		}
	}
}
