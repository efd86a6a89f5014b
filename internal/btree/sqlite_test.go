package btree

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// shape describes a database to build.
type shape struct {
	name       string
	pageSize   int
	reserved   int // bytes at the end of each page
	rows       int
	depth      int // minimum number of levels of the deepest b-tree
	autoVacuum bool
}

var shapes = []shape{
	{name: "512", pageSize: 512, rows: 3000, depth: 4},
	{name: "4096", pageSize: 4096, rows: 6000, depth: 3},
	{name: "65536", pageSize: 65536, rows: 20000, depth: 2},
	{name: "512-32", pageSize: 512, reserved: 32, rows: 3000, depth: 4},
	{name: "4096-13", pageSize: 4096, reserved: 13, rows: 6000, depth: 3},
	{name: "65536-255", pageSize: 65536, reserved: 255, rows: 20000, depth: 2},
}

// file is a database and its bytes.
type file struct {
	db       *sql.DB
	data     []byte
	pageSize int
	usable   int
	roots    map[string]uint32
}

func (f *file) page(t testing.TB, pgno uint32) []byte {
	t.Helper()
	if pgno == 0 || int(pgno)*f.pageSize > len(f.data) {
		t.Fatalf("page %d is not in the database", pgno)
	}
	return f.data[(int(pgno)-1)*f.pageSize : int(pgno)*f.pageSize]
}

func (f *file) number(t testing.TB, query string) (n int) {
	t.Helper()
	if err := f.db.QueryRow(query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

func (f *file) rowids(t testing.TB, table string) (ids []int64) {
	t.Helper()
	rows, err := f.db.Query("SELECT rowid FROM " + table + " NOT INDEXED ORDER BY rowid")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return ids
}

// build builds a database. Table t has negative and large rowids, inserted in
// random order, with holes. Table sparse has the extreme rowids. Table big has
// long overflow chains. The schema takes more than one page.
func build(t testing.TB, tc shape) *file {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := sqlitetest.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	exec(fmt.Sprintf("PRAGMA page_size = %d", tc.pageSize))
	reserve(t, db, tc.reserved)
	if tc.autoVacuum {
		exec("PRAGMA auto_vacuum = FULL")
	}
	exec(`
		CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, number INT, long TEXT, body BLOB);
		CREATE INDEX t_name ON t (name);
		CREATE INDEX t_number ON t (number);
		CREATE UNIQUE INDEX t_unique ON t (id, number, name);
		CREATE INDEX t_long ON t (long);
		CREATE TABLE w (k TEXT, n INT, body BLOB, PRIMARY KEY (k, n)) WITHOUT ROWID;
		CREATE TABLE sparse (id INTEGER PRIMARY KEY, x);
		CREATE TABLE hollow (x);
		CREATE TABLE big (body BLOB)`)
	for i := range 30 {
		exec(fmt.Sprintf("CREATE TABLE filler_%d (%s)", i, columns(40)))
	}
	exec("BEGIN")
	local := tc.pageSize/4 - 40 // about the number of payload bytes that an index page stores
	exec(`WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
		INSERT INTO t SELECT
			CASE i % 4 WHEN 0 THEN i WHEN 1 THEN -i WHEN 2 THEN i * 1000003 ELSE -i * 9999999967 END,
			printf('%d %s', i * 7919 % ?1, substr(hex(zeroblob(20)), 1, i % 40)),
			i % 17 - 8,
			CASE i % 50 WHEN 0 THEN printf('%d%s', i, hex(zeroblob((?2 + i / 50 % 90) / 2))) END,
			randomblob(i % 150)
		FROM n ORDER BY i * 7919 % ?1`, tc.rows, local)
	exec("DELETE FROM t WHERE id % 11 = 5")
	exec(`WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n WHERE i < ?1 - 1)
		INSERT INTO w SELECT printf('%d', i * 31 % ?1), i, randomblob(i % 200 * (1 + (i % 97 = 0) * 9)) FROM n`, tc.rows/2)
	exec(`INSERT INTO sparse VALUES (-9223372036854775808, 1), (9223372036854775807, 2), (0, 3), (-1, 4)`)
	usable := tc.pageSize - tc.reserved
	for _, size := range []int{
		0, 1, usable - 42, usable - 41, usable - 40, usable - 39, usable - 38, usable - 37, usable - 36, usable - 35,
		usable - 34, usable, 2*usable - 50, 2*usable - 10, 3 * usable, 200_000, 1_000_003,
	} {
		for d := range 8 {
			exec("INSERT INTO big VALUES (randomblob(?))", size+d)
		}
	}
	for k := range 200 { // roughly every length of the payload modulo the space of an overflow page
		exec("INSERT INTO big VALUES (randomblob(?))", usable+k*usable/199)
	}
	for i := range 5 {
		exec(fmt.Sprintf("DROP TABLE filler_%d", i))
	}
	exec("COMMIT")

	f := &file{db: db, pageSize: tc.pageSize, roots: make(map[string]uint32)}
	if f.data, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	var ok bool
	if f.usable, ok = UsableSize(f.data); !ok {
		t.Fatal("no usable size")
	}
	f.readRoots(t)
	return f
}

func columns(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("column_%d", i)
	}
	return strings.Join(names, ", ")
}

func (f *file) readRoots(t testing.TB) {
	t.Helper()
	rows, err := f.db.Query("SELECT name, rootpage FROM sqlite_schema")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var root uint32
		if err := rows.Scan(&name, &root); err != nil {
			t.Fatal(err)
		}
		f.roots[name] = root
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// reserve makes SQLite reserve n bytes at the end of each page.
func reserve(t testing.TB, db *sql.DB, n int) {
	t.Helper()
	if n == 0 {
		return
	}
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(c any) error { return sqlitetest.ReserveBytes(c, n) }); err != nil {
		t.Fatal(err)
	}
}

// walker walks the b-trees of a file with the package's API.
type walker struct {
	*file
	owner    map[uint32]string // for each page found, the structure it belongs to
	interior int
	chains   int
	deepest  int
}

func (w *walker) claim(t *testing.T, pgno uint32, owner string) []byte {
	t.Helper()
	if was, ok := w.owner[pgno]; ok {
		t.Fatalf("page %d of %s is of %s already", pgno, owner, was)
	}
	w.owner[pgno] = owner
	return w.page(t, pgno)
}

// walk calls visit for every page below pgno, and for every cell of interior
// pages in key order. For a leaf, cell is -1.
func (w *walker) walk(t *testing.T, name string, pgno uint32, depth int, visit func(p Page, pgno uint32, cell int)) {
	t.Helper()
	p, ok := Parse(w.claim(t, pgno, name), pgno, w.usable)
	if !ok {
		t.Fatalf("page %d of %s refused", pgno, name)
	}
	w.deepest = max(w.deepest, depth)
	w.follow(t, name, p)
	if !p.Kind().IsInterior() {
		if p.Children() != 0 || p.Child(0) != 0 || p.IndexOf(pgno) != -1 || p.ChildFor(0) != -1 {
			t.Errorf("leaf %d has children", pgno)
		}
		visit(p, pgno, -1)
		return
	}
	w.interior++
	if p.Children() != p.Cells()+1 || p.Child(-1) != 0 || p.Child(p.Children()) != 0 || p.IndexOf(pgno) != -1 || holds(p, 0) {
		t.Errorf("page %d has %d cells and %d children", pgno, p.Cells(), p.Children())
	}
	for i := range p.Children() {
		if got := p.IndexOf(p.Child(i)); got != i {
			t.Errorf("child %d of page %d is child %d", i, pgno, got)
		}
		w.walk(t, name, p.Child(i), depth+1, visit)
		if i < p.Cells() {
			visit(p, pgno, i)
		}
	}
}

// follow follows the overflow chains of a page.
func (w *walker) follow(t *testing.T, name string, p Page) {
	t.Helper()
	for i := range p.Cells() {
		first, pages, ok := p.Overflow(i)
		if !ok {
			continue
		}
		w.chains++
		if got := p.OverflowFrom(first); got != pages {
			t.Errorf("%s: %d pages from %d, want %d", name, got, first, pages)
		}
		next := first
		for n := range pages {
			if next == 0 {
				t.Fatalf("%s: chain of %d pages from %d ends after %d", name, pages, first, n)
			}
			data := w.claim(t, next, name+" overflow")
			if _, ok := Parse(data, next, w.usable); ok {
				t.Errorf("overflow page %d accepted", next)
			}
			if next != first && p.OverflowFrom(next) != 0 {
				t.Errorf("page %d begins no chain", next)
			}
			next = binary.BigEndian.Uint32(data)
		}
		if next != 0 {
			t.Fatalf("%s: chain from %d has more than %d pages", name, first, pages)
		}
	}
}

func (w *walker) table(t *testing.T, name string, root uint32) {
	t.Helper()
	var got []int64
	leafOf := make(map[int64]uint32)
	w.walk(t, name, root, 1, func(p Page, pgno uint32, cell int) {
		if cell >= 0 {
			key, ok := p.Rowid(cell)
			if !ok || p.Kind() != InteriorTable || len(got) > 0 && got[len(got)-1] > key {
				t.Errorf("%s: page %d: key %d, %v after rowid %d", name, pgno, key, ok, got[len(got)-1])
			}
			return
		}
		if p.Kind() != LeafTable {
			t.Errorf("%s: page %d is of kind %d", name, pgno, p.Kind())
		}
		for i := range p.Cells() {
			rowid, ok := p.Rowid(i)
			if !ok {
				t.Errorf("%s: no rowid in cell %d of page %d", name, i, pgno)
			}
			if _, ok := lastInteger(p, i); ok {
				t.Errorf("%s: index entry in a table", name)
			}
			got = append(got, rowid)
			leafOf[rowid] = pgno
		}
	})
	want := w.rowids(t, name)
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %d rowids, want %d, or others", name, len(got), len(want))
	}
	for _, rowid := range want {
		leaf, p := w.descend(t, root, rowid)
		if leaf != leafOf[rowid] || !holds(p, rowid) {
			t.Fatalf("%s: rowid %d leads to page %d, not %d", name, rowid, leaf, leafOf[rowid])
		}
		for _, other := range []int64{rowid - 1, rowid + 1} { // the addition may wrap around
			leaf, p := w.descend(t, root, other)
			if at, ok := leafOf[other]; holds(p, other) != ok || ok && at != leaf {
				t.Fatalf("%s: rowid %d leads to page %d", name, other, leaf)
			}
		}
	}
}

func (w *walker) descend(t *testing.T, pgno uint32, rowid int64) (uint32, Page) {
	t.Helper()
	for range 20 {
		p, ok := Parse(w.page(t, pgno), pgno, w.usable)
		if !ok {
			t.Fatalf("page %d refused", pgno)
		}
		if p.Kind() != InteriorTable {
			return pgno, p
		}
		pgno = p.Child(p.ChildFor(rowid))
	}
	t.Fatal("no leaf within 20 levels")
	return 0, Page{}
}

// index compares the rowids in an index with the rowids of its table. If long
// is true, the rowids of entries with an overflow chain are unknown.
func (w *walker) index(t *testing.T, name string, root uint32, table string, long bool) {
	t.Helper()
	var got []int64
	hidden, inner := 0, 0
	w.walk(t, name, root, 1, func(p Page, pgno uint32, cell int) {
		from, to := 0, p.Cells()
		if cell >= 0 {
			from, to = cell, cell+1
			inner++
		}
		if p.Kind() != LeafIndex && p.Kind() != InteriorIndex {
			t.Errorf("%s: page %d is of kind %d", name, pgno, p.Kind())
		}
		for i := from; i < to; i++ {
			if _, ok := p.Rowid(i); ok || holds(p, 0) {
				t.Errorf("%s: page %d has keys of a table", name, pgno)
			}
			rowid, ok := lastInteger(p, i)
			_, _, over := p.Overflow(i)
			switch {
			case ok != over && ok:
				got = append(got, rowid)
			case ok != over && long:
				hidden++
			default:
				t.Errorf("%s: cell %d of page %d: rowid %v, overflow %v", name, i, pgno, ok, over)
			}
		}
	})
	slices.Sort(got)
	want := w.rowids(t, table)
	if !long && !slices.Equal(got, want) {
		t.Fatalf("%s: %d rowids, want %d, or others", name, len(got), len(want))
	}
	if inner == 0 {
		t.Errorf("%s has no interior page", name)
	}
	if !long {
		return
	}
	if len(got)+hidden != len(want) || hidden == 0 {
		t.Errorf("%s: %d rowids and %d hidden, want %d", name, len(got), hidden, len(want))
	}
	for i, rowid := range got {
		if _, ok := slices.BinarySearch(want, rowid); !ok || i > 0 && got[i-1] == rowid {
			t.Errorf("%s: rowid %d is none of the table or there twice", name, rowid)
		}
	}
}

// withoutRowid checks that a table without rowids whose last column is a blob
// is an index with as many entries and that no entry has a rowid.
func (w *walker) withoutRowid(t *testing.T, name string, root uint32) {
	t.Helper()
	entries := 0
	w.walk(t, name, root, 1, func(p Page, pgno uint32, cell int) {
		if cell >= 0 {
			entries++
			return
		}
		entries += p.Cells()
		for i := range p.Cells() {
			if rowid, ok := lastInteger(p, i); ok {
				t.Errorf("%s: cell %d of page %d has rowid %d", name, i, pgno, rowid)
			}
		}
	})
	if want := w.number(t, "SELECT count(*) FROM "+name); entries != want {
		t.Errorf("%s: %d entries, want %d", name, entries, want)
	}
}

// dbstat compares the results with SQLite's dbstat table if it is available.
func (w *walker) dbstat(t *testing.T) {
	t.Helper()
	rows, err := w.db.Query("SELECT pageno, pagetype, ncell FROM dbstat")
	if err != nil {
		t.Logf("not compared with dbstat: %v", err)
		return
	}
	defer rows.Close()
	for rows.Next() {
		var pgno uint32
		var kind string
		var cells int
		if err := rows.Scan(&pgno, &kind, &cells); err != nil {
			t.Fatal(err)
		}
		p, ok := Parse(w.page(t, pgno), pgno, w.usable)
		if ok != (kind != "overflow") || p.Cells() != cells || p.Kind().IsInterior() != (kind == "internal") {
			t.Errorf("page %d of kind %d has %d cells; dbstat says %s, %d", pgno, p.Kind(), p.Cells(), kind, cells)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
