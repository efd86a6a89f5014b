package owners_test

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/owners"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// image makes a database with tables of several levels, an index, large rows, a view
// and a table without rows.
func image(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := sql.Open(sqlitetest.Driver, "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(`PRAGMA page_size = 1024;
		CREATE TABLE numbers (id INTEGER PRIMARY KEY, n INT, text);
		CREATE INDEX by_text ON numbers (text);
		CREATE TABLE words (word TEXT PRIMARY KEY, n) WITHOUT ROWID;
		CREATE TABLE vacant (a);
		CREATE TABLE large (b);
		CREATE VIEW seen AS SELECT * FROM numbers;
		WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO numbers SELECT i, i % 7, 'text ' || i FROM c;
		INSERT INTO words SELECT text, id FROM numbers WHERE id < 1000;
		INSERT INTO large VALUES (randomblob(5000)), (randomblob(7000));`)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// find returns the trees of an image, and the names of the trees that its pages belong
// to. Only some pages are at hand.
func find(b []byte, has func(pgno uint32) bool) (trees []owners.Tree, of map[uint32]string) {
	size := int(binary.BigEndian.Uint16(b[16:]))
	of = make(map[uint32]string)
	notes := make(map[uint32]int)
	trees = owners.Find(func(pgno uint32) []byte {
		if !has(pgno) {
			return nil
		}
		return b[(int(pgno)-1)*size:][:size]
	}, uint32(len(b)/size), func(pgno uint32, tree int) { notes[pgno] = tree })
	for pgno, tree := range notes {
		of[pgno] = trees[tree].Name
	}
	return trees, of
}

func all(uint32) bool { return true }

// Every page that looks like one of a tree belongs to the tree whose pages it is
// between, and pages of overflow chains to none.
func TestFind(t *testing.T) {
	b := image(t)
	trees, of := find(b, all)
	want := []string{"sqlite_schema", "numbers", "by_text", "words", "vacant", "large"}
	if fmt.Sprint(names(trees)) != fmt.Sprint(want) {
		t.Fatalf("trees are %v, want %v", names(trees), want)
	}
	count := make(map[string]int)
	for _, name := range of {
		count[name]++
	}
	// Freeing every other page of the file by dropping the tables tells the same
	// numbers: SQLite puts each page of a dropped table on its list of free pages.
	count["numbers"] += count["by_text"]
	for _, name := range []string{"numbers", "words", "vacant"} {
		if free := freedBy(t, b, name); free != count[name] {
			t.Errorf("%s has %d pages, and DROP TABLE frees %d", name, count[name], free)
		}
	}
	// Two rows of 5,000 and 7,000 bytes have about twelve pages in overflow chains.
	overflow := freedBy(t, b, "large") - count["large"]
	if overflow < 9 || overflow > 13 || len(of)+overflow != len(b)/1024 {
		t.Errorf("of %d pages, %d have an owner, and %d are in overflow chains", len(b)/1024, len(of), overflow)
	}
}

func names(trees []owners.Tree) (all []string) {
	for _, t := range trees {
		all = append(all, t.Name)
	}
	return all
}

// freedBy returns how many pages SQLite frees when it drops a table.
func freedBy(t testing.TB, b []byte, table string) (n int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(sqlitetest.Driver, "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("DROP TABLE " + table); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow("PRAGMA freelist_count").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What is not at hand is unknown, and what is known is the same as with all pages.
func TestFind_Parts(t *testing.T) {
	b := image(t)
	_, whole := find(b, all)
	if trees, of := find(b, func(uint32) bool { return false }); trees != nil || len(of) > 0 {
		t.Errorf("without a page there are %v, %v", trees, of)
	}
	_, of := find(b, func(pgno uint32) bool { return pgno == 1 })
	if len(of) != 6 {
		t.Errorf("page 1 alone leads to %v, want six roots", of)
	}
	lacking := 0
	for step := uint32(2); step < 9; step++ {
		_, part := find(b, func(pgno uint32) bool { return pgno == 1 || pgno%step > 0 })
		for pgno, name := range part {
			if whole[pgno] != name {
				t.Errorf("page %d is of %s, want %q", pgno, name, whole[pgno])
			}
		}
		if len(part) < 6 || len(part) > len(whole) {
			t.Errorf("%d of %d pages have an owner", len(part), len(whole))
		}
		lacking += len(whole) - len(part)
	}
	if lacking == 0 {
		t.Error("interior pages that are not at hand hide nothing")
	}
}

// A damaged database ends the walk.
func FuzzFind(f *testing.F) {
	b := image(f)
	f.Add(uint16(100), uint16(5), byte(1))
	f.Add(uint16(512), uint16(3), byte(2))
	f.Fuzz(func(t *testing.T, at, length uint16, value byte) {
		damaged := append([]byte(nil), b...)
		for i := range int(length) {
			damaged[100+(int(at)*7+i*31)%(len(b)-100)] = value + byte(i)
		}
		reads := 0
		size := 1024
		owners.Find(func(pgno uint32) []byte {
			if reads++; reads > 100_000 {
				t.Fatal("the walk does not end")
			}
			return damaged[(int(pgno)-1)*size:][:size]
		}, uint32(len(b)/size), func(pgno uint32, _ int) {
			if pgno == 0 || int(pgno) > len(b)/size {
				t.Fatalf("page %d of %d", pgno, len(b)/size)
			}
		})
	})
}
