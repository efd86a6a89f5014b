package pages

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/btree"
	"github.com/ltxvfs/litestream/internal/fulltext"
)

// TestLeafIDs tells which leaves of a segment a page of their table has, from the
// rowids around the page.
func TestLeafIDs(t *testing.T) {
	two, three := fulltext.Segment{ID: 2}, fulltext.Segment{ID: 3}
	id := btree.IntegerValue
	for _, tt := range []struct {
		name                 string
		b                    bounds
		segment, first, last int64
		ok                   bool
	}{
		{"a page in the middle", bounds{least: id(two.LeafID(4)), most: id(two.LeafID(9))}, 2, 5, 9, true},
		{"the first of a segment", bounds{least: id(two.LeafID(9)), most: id(three.LeafID(7))}, 3, 1, 7, true},
		{"the first of the table", bounds{most: id(two.LeafID(9))}, 2, 1, 9, true},
		{"after rows of another kind", bounds{least: id(fulltext.StructureID), most: id(two.LeafID(9))}, 2, 1, 9, true},
		{"the last of the table", bounds{least: id(two.LeafID(4))}, 0, 0, 0, false},
		{"rows of another kind", bounds{most: id(fulltext.StructureID)}, 0, 0, 0, false},
		{"no bounds", bounds{}, 0, 0, 0, false},
	} {
		if segment, first, last, ok := leafIDs(tt.b); segment != tt.segment || first != tt.first || last != tt.last || ok != tt.ok {
			t.Errorf("%s: leaves %d to %d of segment %d, %v; want %d to %d of %d, %v", tt.name, first, last, segment, ok, tt.first, tt.last, tt.segment, tt.ok)
		}
	}
}

// TestTermRange_Meet intersects ranges of terms, and compares them with the terms that
// are in both.
func TestTermRange_Meet(t *testing.T) {
	bound := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	terms := []string{"", "a", "b", "c", "d"}
	in := func(r termRange, term string) bool {
		return string(r.least) <= term && (r.most == nil || term < string(r.most))
	}
	for _, least := range terms {
		for _, most := range terms {
			for _, otherLeast := range terms {
				for _, otherMost := range terms {
					r, o := termRange{bound(least), bound(most)}, termRange{bound(otherLeast), bound(otherMost)}
					both := r
					left := false
					ok := both.meet(o)
					for _, term := range terms {
						want := in(r, term) && in(o, term)
						if in(both, term) != want {
							t.Errorf("%q to %q and %q to %q: %q is in %q to %q", least, most, otherLeast, otherMost, term, both.least, both.most)
						}
						left = left || want
					}
					if ok != left {
						t.Errorf("%q to %q and %q to %q have %q to %q in common: %v", least, most, otherLeast, otherMost, both.least, both.most, ok)
					}
				}
			}
		}
	}
}
