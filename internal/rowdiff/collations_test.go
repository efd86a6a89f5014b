package rowdiff_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
)

// textKeys returns different texts in the bytes of an encoding. Their characters are
// those that order texts in an unusual way: letters of both cases, characters between
// these, spaces, NULs, and bytes that are no characters.
func textKeys(rng *rand.Rand, encoding string, n int) [][]byte {
	units := [][]byte{{'a'}, {'A'}, {'z'}, {'Z'}, {'_'}, {'@'}, {' '}, {0}, {0xe8}, {0xe9}, {0xc3}, {0xa9}, {0xff}, []byte("é"), []byte("\U00010000")}
	if encoding != "UTF-8" {
		units = nil
		for _, u := range []uint16{'a', 'A', 'z', 'Z', '_', '@', ' ', 0, 0xe8, 0x100, 0x61ff, 0xd7ff, 0xd800, 0xd841, 0xdbff, 0xdc00, 0xdfff, 0xe000, 0xfffd, 0xffff} {
			unit := []byte{byte(u), byte(u >> 8)}
			if encoding == "UTF-16be" {
				slices.Reverse(unit)
			}
			units = append(units, unit)
		}
	}
	var keys [][]byte
	seen := make(map[string]bool)
	for len(keys) < n {
		var k []byte
		for range rng.IntN(7) {
			k = append(k, units[rng.IntN(len(units))]...)
		}
		if !seen[string(k)] {
			seen[string(k)] = true
			keys = append(keys, k)
		}
	}
	return keys
}

// encodings returns a history in each encoding of texts.
func encodings(t *testing.T, pageSize int) map[string]*history {
	t.Helper()
	all := make(map[string]*history)
	for seed := range uint64(12) {
		h := newHistory(t, seed, pageSize)
		var encoding string
		if err := h.db.QueryRow("PRAGMA encoding").Scan(&encoding); err != nil {
			t.Fatal(err)
		}
		if all[encoding] == nil {
			all[encoding] = h
		}
	}
	if len(all) != 3 {
		t.Fatalf("encodings %q", slices.Collect(maps.Keys(all)))
	}
	return all
}

// TestDiff_TextKeys changes rows whose keys are any bytes as texts. Rows are in the order
// that SQLite has of them, by each collation and in each encoding, and each change is
// found, whether its page is looked for by its keys or not.
func TestDiff_TextKeys(t *testing.T) {
	for encoding, h := range encodings(t, 512) {
		h.exec("PRAGMA synchronous = OFF")
		for _, collation := range []string{"BINARY", "NOCASE", "RTRIM"} {
			h.exec("CREATE TABLE x (k TEXT PRIMARY KEY COLLATE %s, n, v) WITHOUT ROWID", collation)
			keys := textKeys(h.Rand, encoding, 500)
			for n, k := range keys {
				if _, err := h.db.Exec("INSERT OR IGNORE INTO x VALUES (CAST(? AS TEXT), ?, 1)", k, n); err != nil {
					t.Fatal(err)
				}
			}
			a, before := h.image(), textRows(t, h)
			for n := range keys {
				switch h.IntN(40) {
				case 0:
					h.exec("UPDATE x SET v = 2 WHERE n = %d", n)
				case 1:
					h.exec("DELETE FROM x WHERE n = %d", n)
				}
			}
			b, after := h.image(), textRows(t, h)
			want := make(map[string]bool)
			for n, old := range before {
				if new := after[n]; show(old) != show(new) {
					want[text("x", "", old, new)] = true
				}
			}
			var reads atomic.Int64
			for _, known := range []int{0, -1} {
				what := fmt.Sprintf("%s, %s, known %d", encoding, collation, known)
				if got, err := changes(t, a, b, &reads, known); err != nil {
					t.Errorf("%s: %v", what, err)
				} else {
					compare(t, what, got, want)
				}
			}
			h.exec("DROP TABLE x")
		}
	}
}

// textRows returns the rows of table x by their numbers.
func textRows(t *testing.T, h *history) map[int64][]any {
	t.Helper()
	rows, err := h.db.Query("SELECT k, n, v FROM x")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := make(map[int64][]any)
	for rows.Next() {
		var k string
		var n, v int64
		if err := rows.Scan(&k, &n, &v); err != nil {
			t.Fatal(err)
		}
		all[n] = []any{k, n, v}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
