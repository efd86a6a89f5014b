package litestream

import (
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/changetable"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/rowdiff"
)

// TestChangeRows_Memory adds values to a change, of which a statement reads only so
// many ahead as its memory allows. Each text and each blob counts by its length.
func TestChangeRows_Memory(t *testing.T) {
	const size = 1000
	text, blob := strings.Repeat("x", size), make([]byte, size)
	of := func(values ...any) int { return memoryOf(rowdiff.Change{Old: values, New: values}) }
	for name, value := range map[string]any{"text": text, "blob": blob} {
		if n := of(value) - of(int64(1)); n != 2*size {
			t.Errorf("a %s of %d bytes before and after takes %d bytes more than a number", name, size, n)
		}
	}
	if n := memoryOf(rowdiff.Change{SQL: text, OldSQL: text}) - memoryOf(rowdiff.Change{}); n != 2*size {
		t.Errorf("two statements of %d bytes take %d bytes", size, n)
	}
	if of(nil, nil) <= of(nil) {
		t.Error("a value without content takes nothing")
	}
}

// TestChangeRows_Panic asks for a value of a row that makes no sense. The statement ends
// with an error, and not the program.
func TestChangeRows_Panic(t *testing.T) {
	client := newHookClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (x)")
	db := openHere(t, client, Options{PollInterval: -1})
	r := &ChangeRows{c: connOf(db, db.Current.Load()), row: rowdiff.Change{Key: []int{1}, Columns: []string{"a"}, New: []any{int64(1)}}}
	if v := r.Value(changetable.Key); v != nil {
		t.Errorf("the key is %v", v)
	}
	if ok, err := r.Next(); ok || err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("there is a row: %v, error %v", ok, err)
	}
}

// TestChangeRows_Close closes a comparison after its first row. It ends there: what was
// read ahead may still come, and nothing else is read.
func TestChangeRows_Close(t *testing.T) {
	client := newHookClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)")
	const rows = 8000
	p.Exec("WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?) INSERT INTO t SELECT i, hex(zeroblob(500)) FROM c", rows)
	db := openHere(t, client, Options{PollInterval: -1})
	c := connOf(db, db.Current.Load())
	table, from := "t", "0000000000000001"
	for _, closed := range []bool{false, true} {
		r, err := c.Changes(&table, &from, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := r.Next(); !ok || err != nil {
			t.Fatalf("there is no first row: %v", err)
		}
		if closed {
			r.Close()
		}
		n := 1
		for {
			ok, err := r.Next()
			if !ok {
				if (err != nil) != closed {
					t.Errorf("closed: %v, the end: %v", closed, err)
				}
				break
			}
			n++
		}
		if (n < rows) != closed {
			t.Errorf("closed: %v, %d rows of %d", closed, n, rows)
		}
		r.Close()
	}
}
