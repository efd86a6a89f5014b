package rowdiff_test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/rowdiff"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// image is the bytes of a database file.
type image []byte

func (m image) pageSize() int {
	n := int(binary.BigEndian.Uint16(m[16:]))
	if n == 1 {
		return 65536
	}
	return n
}

func (m image) commit() uint32 { return uint32(len(m) / m.pageSize()) }

func (m image) page(pgno uint32) []byte {
	size := m.pageSize()
	return m[int(pgno-1)*size:][:size:size]
}

// state returns the state of an image. Reads counts the pages that are read.
func (m image) state(reads *atomic.Int64) rowdiff.State {
	return rowdiff.State{Commit: m.commit(), Page: func(_ context.Context, pgno uint32) ([]byte, error) {
		if pgno == 0 || pgno > m.commit() {
			return nil, fmt.Errorf("page %d of %d is read", pgno, m.commit())
		}
		reads.Add(1)
		return m.page(pgno), nil
	}}
}

// options compares two images of one page size by their pages.
func options(a, b image) rowdiff.Options {
	differs := func(pgno uint32) bool {
		return pgno > min(a.commit(), b.commit()) || !bytes.Equal(a.page(pgno), b.page(pgno))
	}
	return rowdiff.Options{Differs: differs, Width: 4, Each: func(fn func(uint32)) {
		for pgno := uint32(1); pgno <= max(a.commit(), b.commit()); pgno++ {
			if differs(pgno) {
				fn(pgno)
			}
		}
	}}
}

// content is what SQL says about the tables of a state.
type content map[string]*tableContent

type tableContent struct {
	sql     string
	columns []string
	keys    string // names of the columns of the key of a table without rowids
	rows    map[string][]any
}

// read reads the content of a database.
func read(t testing.TB, db *sql.DB) content {
	t.Helper()
	all := make(content)
	query := func(q string, each func(values []any)) {
		rows, err := db.Query(q)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		defer rows.Close()
		names, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, at := make([]any, len(names)), make([]any, len(names))
			for i := range values {
				at[i] = &values[i]
			}
			if err := rows.Scan(at...); err != nil {
				t.Fatal(err)
			}
			each(values)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	query("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'", func(v []any) {
		all[v[0].(string)] = &tableContent{sql: v[1].(string), rows: make(map[string][]any)}
	})
	for name, c := range all {
		var list, keys []string
		query(fmt.Sprintf("SELECT name, pk FROM pragma_table_xinfo('%s') WHERE hidden <> 2 ORDER BY cid", name), func(v []any) {
			c.columns = append(c.columns, v[0].(string))
			// A cast keeps the driver from making a time or a truth value of it.
			list = append(list, "+"+ident(v[0].(string)))
			if v[1].(int64) > 0 {
				keys = append(keys, "lower(quote("+ident(v[0].(string))+"))")
			}
		})
		key := "_rowid_"
		if strings.Contains(c.sql, "WITHOUT ROWID") {
			key = strings.Join(keys, " || ',' || ")
			c.keys = key
		}
		query(fmt.Sprintf("SELECT %s, %s FROM %s", key, strings.Join(list, ", "), ident(name)), func(v []any) {
			c.rows[fmt.Sprint(v[0])] = v[1:]
		})
	}
	return all
}

// ident returns a name in quotes.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func show(v []any) string {
	if v == nil {
		return "none"
	}
	var b strings.Builder
	for _, x := range v {
		if raw, ok := x.([]byte); ok && len(raw) > 40 {
			fmt.Fprintf(&b, " blob of %d, %x", len(raw), raw[len(raw)-8:])
			continue
		}
		fmt.Fprintf(&b, " %T:%.60v", x, x)
	}
	return b.String()
}

// expected returns the changes of rows between two contents, as texts.
func expected(a, b content) map[string]bool {
	all := make(map[string]bool)
	note := func(c *tableContent, table, key string, old, new []any) {
		if c.keys != "" {
			key = ""
		}
		all[text(table, key, old, new)] = true
	}
	names := maps.Clone(a)
	maps.Copy(names, b)
	for name := range names {
		old, new := a[name], b[name]
		switch {
		case old == nil:
			for k, r := range new.rows {
				note(new, name, k, nil, r)
			}
			all["created "+name] = true
			continue
		case new == nil || old.keys != new.keys:
			for k, r := range old.rows {
				note(old, name, k, r, nil)
			}
			all["dropped "+name] = true
			if new != nil {
				for k, r := range new.rows {
					note(new, name, k, nil, r)
				}
				all["created "+name] = true
			}
			continue
		}
		if old.sql != new.sql {
			all["altered "+name] = true
		}
		for k, r := range old.rows {
			s, ok := new.rows[k]
			switch {
			case !ok:
				note(old, name, k, r, nil)
			case !isSame(old, new, r, s):
				note(old, name, k, r, s)
			}
		}
		for k, s := range new.rows {
			if _, ok := old.rows[k]; !ok {
				note(new, name, k, nil, s)
			}
		}
	}
	return all
}

// isSame compares rows of a table by the names of the columns. The test gives added
// columns the default 7.
func isSame(old, new *tableContent, r, s []any) bool {
	for i, name := range new.columns {
		before := any(int64(7))
		if n := slices.Index(old.columns, name); n >= 0 {
			before = r[n]
		} else if len(old.columns) == len(new.columns) && !slices.Contains(new.columns, old.columns[i]) {
			before = r[i]
		}
		if !reflect.DeepEqual(before, s[i]) {
			return false
		}
	}
	return true
}

func text(table, key string, old, new []any) string {
	return table + " " + key + ":" + show(old) + " ->" + show(new)
}

// changes returns what Diff says, as texts. Known is the option.
func changes(t testing.TB, a, b image, reads *atomic.Int64, known int) (all []string, err error) {
	t.Helper()
	opts := options(a, b)
	opts.Known = known
	err = rowdiff.Diff(t.Context(), a.state(reads), b.state(reads), opts, func(c rowdiff.Change) error {
		switch c.Kind {
		case rowdiff.TableCreated:
			all = append(all, "created "+c.Table)
		case rowdiff.TableDropped:
			all = append(all, "dropped "+c.Table)
		case rowdiff.TableAltered:
			all = append(all, "altered "+c.Table)
		default:
			for _, i := range slices.Concat(c.Key, c.Generated) {
				if i >= len(c.Columns) {
					t.Errorf("table %s: the key %v or the generated columns %v are not among %q", c.Table, c.Key, c.Generated, c.Columns)
				}
			}
			key := ""
			if c.HasRowid {
				key = fmt.Sprint(c.Rowid)
			}
			all = append(all, text(c.Table, key, c.Old, c.New))
		}
		return nil
	})
	return all, err
}

// history makes random changes to a database.
type history struct {
	*rand.Rand
	t    testing.TB
	db   *sql.DB
	path string
}

// newHistory begins a history with one of some page sizes.
func newHistory(t testing.TB, seed uint64, sizes ...int) *history {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	path := filepath.Join(t.TempDir(), "db")
	db, err := sql.Open(sqlitetest.Driver, "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	h := &history{rng, t, db, path}
	h.exec("PRAGMA page_size = %d", sizes[rng.IntN(len(sizes))])
	h.exec("PRAGMA encoding = '%s'", []string{"UTF-8", "UTF-16le", "UTF-16be"}[rng.IntN(3)])
	h.exec("PRAGMA auto_vacuum = %d", rng.IntN(3))
	h.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, s TEXT, b BLOB, r REAL)")
	h.exec("CREATE INDEX ts ON t (s, n)")
	h.exec("CREATE TABLE plain (a TEXT, b)")
	h.exec("CREATE TABLE w (a TEXT COLLATE NOCASE, b INTEGER, c, PRIMARY KEY (b DESC, a)) WITHOUT ROWID")
	h.exec("CREATE TABLE v (k TEXT, x, y, PRIMARY KEY (k COLLATE RTRIM)) WITHOUT ROWID")
	h.exec("CREATE TABLE g (id INTEGER PRIMARY KEY AUTOINCREMENT, x INT DEFAULT 3, y INT AS (x * 2), z INT GENERATED ALWAYS AS (x + 1) STORED)")
	h.exec("CREATE TABLE \"odd \"\"name\" (\"a b\" TEXT PRIMARY KEY /* a comment, with ( */, [c d] DECIMAL(10,2) DEFAULT (1 + 2), CHECK (\"a b\" <> 'x)'))")
	return h
}

func (h *history) exec(query string, args ...any) {
	h.t.Helper()
	if _, err := h.db.Exec(fmt.Sprintf(query, args...)); err != nil {
		h.t.Fatalf("%s: %v", fmt.Sprintf(query, args...), err)
	}
}

func (h *history) step() {
	const count = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d)"
	at, n := h.IntN(2000), 1+h.IntN(60)
	switch h.IntN(22) {
	case 0, 1, 2:
		h.exec(count+" INSERT OR REPLACE INTO t SELECT abs(random()) %% 2000, i, hex(randomblob(abs(random()) %% 40)), randomblob(abs(random()) %% 200), i * 1.0 FROM c", n)
	case 3:
		h.exec(count+" INSERT OR REPLACE INTO t SELECT %d + i, i, 'é' || i, randomblob(%d), random() / 3.0 FROM c", min(n, 5), at, h.IntN(30000))
	case 4:
		h.exec("DELETE FROM t WHERE id BETWEEN %d AND %d", at, at+n)
	case 5:
		h.exec("UPDATE t SET n = n + 1, r = r + 1 WHERE id %% 37 = %d", h.IntN(37))
	case 6: // the end of large values, in place
		h.exec("UPDATE t SET b = CAST(substr(b, 1, length(b) - 4) || randomblob(4) AS BLOB) WHERE length(b) > 1000 AND id %% 3 = %d", h.IntN(3))
	case 7:
		h.exec(count+" INSERT INTO plain SELECT i, CASE i %% 4 WHEN 0 THEN NULL WHEN 1 THEN i WHEN 2 THEN i / 7.0 ELSE randomblob(i) END FROM c", n)
	case 8:
		h.exec("DELETE FROM plain WHERE _rowid_ %% 11 = %d", h.IntN(11))
	case 9:
		h.exec("UPDATE plain SET b = randomblob(%d) WHERE _rowid_ = %d", h.IntN(9000), 1+h.IntN(100))
	case 10, 11:
		h.exec(count+" INSERT OR REPLACE INTO w SELECT char(65 + abs(random()) %% 58) || i, abs(random()) %% 50, randomblob(abs(random()) %% %d) FROM c", n, 1+h.IntN(2000))
	case 12:
		h.exec("DELETE FROM w WHERE b = %d", h.IntN(50))
	case 13:
		h.exec("UPDATE w SET c = CASE WHEN length(c) > 600 THEN CAST(substr(c, 1, length(c) - 4) || randomblob(4) AS BLOB) ELSE c END")
	case 14:
		h.exec(count+" INSERT OR REPLACE INTO v SELECT CASE i %% 3 WHEN 0 THEN i WHEN 1 THEN 'k' || i ELSE i * 0.5 END, i, randomblob(300) FROM c", n)
	case 15:
		h.exec(count+" INSERT INTO g (x) SELECT i FROM c", n)
		h.exec("UPDATE g SET x = x + 100 WHERE id %% 5 = 1")
	case 16:
		h.exec(count+" INSERT OR REPLACE INTO \"odd \"\"name\" SELECT 'k' || i, %d / 3.0 FROM c", n, at)
	case 17:
		h.exec("VACUUM")
	case 18:
		h.exec("DROP TABLE IF EXISTS u")
		h.exec("%s", []string{"CREATE TABLE u (x, y)", "CREATE TABLE u (x PRIMARY KEY, y) WITHOUT ROWID", "CREATE TABLE u (y, x)"}[h.IntN(3)])
		h.exec(count+" INSERT INTO u SELECT i, i * 2 FROM c", n)
	case 19:
		h.exec("DROP TABLE IF EXISTS u")
	case 20:
		h.exec("DELETE FROM t")
	case 21:
		switch h.IntN(3) {
		case 0:
			h.exec("DROP TABLE IF EXISTS e")
			h.exec("CREATE TABLE e (a, b)")
			h.exec(count+" INSERT INTO e SELECT i, i FROM c", 10*n)
		default:
			h.exec("CREATE TABLE IF NOT EXISTS e (a, b)")
			name := fmt.Sprintf("c%d", h.Int32())
			h.exec("ALTER TABLE e ADD COLUMN %s INT DEFAULT 7", name)
			h.exec("UPDATE e SET %s = %d WHERE a = 3", name, h.IntN(9))
		}
	}
}

// image returns the bytes of the file.
func (h *history) image() image {
	h.t.Helper()
	b, err := os.ReadFile(h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// These flags say which histories TestDiff compares.
var (
	histories = flag.Int("histories", 0, "compare so many random histories; 0: as many as the gate")
	firstSeed = flag.Uint64("first-history", 0, "begin with the history of this `seed`")
)

// TestDiff compares states of random histories with what SQL says about them, by the
// pages that differ and by all interior pages.
func TestDiff(t *testing.T) {
	for i := range uint64(cmp.Or(*histories, testscale.Repeats(40))) {
		seed := *firstSeed + i
		h := newHistory(t, seed, 512, 1024, 4096, 65536)
		var images []image
		var contents []content
		for range 12 {
			for range 1 + h.IntN(6) {
				h.step()
			}
			images, contents = append(images, h.image()), append(contents, read(t, h.db))
		}
		var reads atomic.Int64
		for i := range images {
			for _, k := range []int{i - 1, h.IntN(len(images))} {
				if k < 0 || images[k].pageSize() != images[i].pageSize() {
					continue
				}
				known := []int{0, -1}[h.IntN(2)]
				got, err := changes(t, images[k], images[i], &reads, known)
				if err != nil {
					t.Fatalf("seed %d, from %d to %d, known %d: %v", seed, k, i, known, err)
				}
				compare(t, fmt.Sprintf("seed %d, from %d to %d, known %d", seed, k, i, known), got, expected(contents[k], contents[i]))
			}
		}
		if t.Failed() {
			return
		}
	}
}

func compare(t *testing.T, what string, got []string, expected map[string]bool) {
	t.Helper()
	want := slices.Sorted(maps.Keys(expected))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		showDifference(t, what, got, want)
	}
}

// showDifference reports the first texts that only one of two sorted lists has.
func showDifference(t testing.TB, what string, got, want []string) {
	t.Helper()
	for n := 0; n < 10 && len(got)+len(want) > 0; {
		switch {
		case len(want) == 0 || len(got) > 0 && got[0] < want[0]:
			t.Errorf("%s: not expected, or twice: %s", what, got[0])
			got = got[1:]
			n++
		case len(got) == 0 || want[0] < got[0]:
			t.Errorf("%s: missing: %s", what, want[0])
			want = want[1:]
			n++
		default:
			got, want = got[1:], want[1:]
		}
	}
}

// Of a large table, only the pages above those that differ are read.
func TestDiff_ReadsPaths(t *testing.T) {
	for _, definition := range []string{
		"CREATE TABLE big (k INTEGER PRIMARY KEY, v)",
		"CREATE TABLE big (v, k TEXT COLLATE NOCASE, PRIMARY KEY (k DESC)) WITHOUT ROWID",
	} {
		h := newHistory(t, 2, 512)
		h.exec("%s", definition)
		h.exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 30000) INSERT INTO big (k, v) SELECT i * 3, hex(randomblob(20)) FROM c")
		a := h.image()
		h.exec("UPDATE big SET v = v || 1 WHERE k IN (300, 9000, 30000, 59997)")
		h.exec("INSERT INTO big (k, v) VALUES (10000, 7)")
		h.exec("DELETE FROM big WHERE k = 45000")
		b := h.image()
		var all, paths atomic.Int64
		for known, reads := range map[int]*atomic.Int64{-1: &all, 0: &paths} {
			got, err := changes(t, a, b, reads, known)
			if err != nil || len(got) != 6 {
				t.Fatalf("%s: %d changes, want 6; %v", definition, len(got), err)
			}
		}
		t.Logf("%s: %d reads, %d of all interior pages, in %d pages of %d bytes", definition, paths.Load(), all.Load(), b.commit(), b.pageSize())
		if paths.Load() > 100 || paths.Load()*2 > all.Load() {
			t.Errorf("%s: %d reads, and %d where all interior pages are read", definition, paths.Load(), all.Load())
		}
	}
}

// A table that was made anew with its columns in another order, or of another type,
// has other rows, also where its pages have the same bytes.
func TestDiff_SameBytes(t *testing.T) {
	for _, tt := range []struct {
		name, before, after string
		want                int
	}{
		{"another order", "u (x, y)", "u (y, x)", 2},
		{"another type", "u (x, y INT)", "u (x, y REAL)", 2},
		{"another order, without rowids", "u (x PRIMARY KEY, y, z) WITHOUT ROWID", "u (x PRIMARY KEY, z, y) WITHOUT ROWID", 2},
		{"another name", "u (x, y)", "u (x, z)", 0},
		{"the rowid is a column no more", "u (x INTEGER PRIMARY KEY, y)", "u (x INT, y)", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHistory(t, 1, 4096)
			values := "(1, 2), (3, 4)"
			if strings.Contains(tt.before, "z") {
				values = "(1, 2, 3), (4, 5, 6)"
			}
			make := func(definition string) image {
				if tt.before == "u (x INTEGER PRIMARY KEY, y)" { // whose records have NULL for it
					values = "(NULL, 2), (NULL, 4)"
				}
				h.exec("DROP TABLE IF EXISTS u; CREATE TABLE %s; INSERT INTO u VALUES %s", definition, values)
				return h.image()
			}
			make(tt.before)
			a, b := make(tt.before), make(tt.after)
			var root uint32
			if err := h.db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name = 'u'").Scan(&root); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a.page(root), b.page(root)) {
				t.Fatal("the page of the table is another one")
			}
			var reads atomic.Int64
			for _, known := range []int{0, -1} {
				if got, err := changes(t, a, b, &reads, known); err != nil || len(got) != 1+tt.want {
					t.Errorf("known %d: %q, %v; want %d changes of rows", known, got, err, tt.want)
				}
			}
		})
	}
}

// damage returns an image with some bytes changed. Of each four bytes of edits, three
// say where, and one what is changed there.
func (m image) damage(edits []byte) image {
	bad := slices.Clone(m)
	for ; len(edits) >= 4; edits = edits[4:] {
		at := int(binary.BigEndian.Uint32(edits)>>8) % len(bad)
		if at >= 100 || at >= 32 && at < 56 { // the rest of the header makes it another database
			bad[at] ^= edits[3]
		}
	}
	return bad
}

// damaged compares two states of which one is damaged, by the pages that differ and
// by all interior pages. Both ways say the same, or there is an error, and neither
// reads much more than the database.
func damaged(t testing.TB, a, b image) {
	t.Helper()
	var all [2][]string
	for i, known := range []int{0, -1} {
		var reads atomic.Int64
		got, err := changes(t, a, b, &reads, known)
		if err != nil && !errors.Is(err, errs.ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("known %d: %v", known, err)
		}
		// Each table reads a page at most once, and its rows twice if a large value was
		// changed in place; so do both states.
		if most := 8 * int64(a.commit()+b.commit()+64); reads.Load() > most {
			t.Errorf("known %d: %d reads of %d and %d pages", known, reads.Load(), a.commit(), b.commit())
		}
		if err != nil {
			return
		}
		slices.Sort(got)
		all[i] = got
	}
	if !slices.Equal(all[0], all[1]) {
		showDifference(t, "by the pages that differ", all[0], all[1])
	}
}

// twoStates returns two states of a small database whose trees have several levels.
func twoStates(t testing.TB) (a, b image) {
	h := newHistory(t, 5, 512)
	for range 25 {
		h.step()
	}
	a = h.image()
	for range 5 {
		h.step()
	}
	b = h.image()
	return a, b
}

// TestDiff_Damaged flips bytes of pages.
func TestDiff_Damaged(t *testing.T) {
	a, b := twoStates(t)
	var reads atomic.Int64
	if got, err := changes(t, a, b, &reads, 0); err != nil || len(got) == 0 {
		t.Fatal(len(got), err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range testscale.Repeats(300) {
		edits := make([]byte, 4*(1+rng.IntN(4)))
		for i := range edits {
			edits[i] = byte(rng.Uint32())
		}
		damaged(t, a, b.damage(edits))
		damaged(t, a.damage(edits), b)
	}
}

// FuzzDiff damages one of two states.
func FuzzDiff(f *testing.F) {
	a, b := twoStates(f)
	f.Add(false, []byte{0, 0, 32, 1})
	f.Add(true, []byte{0, 8, 3, 255, 0, 9, 200, 7})
	f.Fuzz(func(t *testing.T, before bool, edits []byte) {
		if before {
			damaged(t, a.damage(edits), b)
		} else {
			damaged(t, a, b.damage(edits))
		}
	})
}
