package fulltext

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Leaves that SQLite 3.46 wrote. The first is a whole index of three rows. The
// others are of an index with small pages, in which one list goes on from leaf to
// leaf.
var leaves = []string{
	"000000370630616C64657203020284A26D020206036D616E822C02020105626972636803020382290403030105636564617284A2700203040F090F",
	"000000420730636F6D6D6F6E05020287680202876802028768020287680202876802028768020287680202876802028768020287680202876802028768020287680204",
	"0005004002ED35020287680202876802028768020287680202876802028768020287680202876802028768020287680202876802028768020287680202876802",
	"000500370281E24D02020630776F726430050203050131876D0203060130CE150203060131D57D0203060132DD650203060133E54D02030A0A07070707",
}

func leaf(t testing.TB, i int) []byte {
	b, err := hex.DecodeString(leaves[i])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(lists []List) string {
	var b strings.Builder
	for _, l := range lists {
		fmt.Fprintf(&b, "%s%v ", strings.TrimPrefix(string(l.Term), "0"), l.Rowids) // 0 is the main index, not one of prefixes
	}
	return strings.TrimSpace(b.String())
}

func TestParse(t *testing.T) {
	lists, ok := Parse(leaf(t, 0))
	if got, want := text(lists), "alder[3 70000] alderman[300] birch[3 300] cedar[70000]"; !ok || got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := WithPrefix(lists, "0alder"), []int64{3, 300, 70000}; !slices.Equal(got, want) {
		t.Errorf("with a prefix: got %v, want %v", got, want)
	}
	var common []int64
	for i := 1; i < len(leaves); i++ {
		lists, ok := Parse(leaf(t, i))
		if !ok {
			t.Fatalf("leaf %d is none", i)
		}
		if term := lists[0].Term; (term == nil) != (i > 1) {
			t.Errorf("leaf %d begins with term %q", i, term)
		}
		common = append(common, lists[0].Rowids...)
		if i == 3 {
			if got, want := text(lists[1:]), "word0[5] word1[1005] word10[10005] word11[11005] word12[12005] word13[13005]"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	for i, rowid := range common {
		if rowid != int64(i*1000+5) {
			t.Errorf("row %d of the list that goes on is %d", i, rowid)
		}
	}
	if len(common) != 30 {
		t.Errorf("%d rows, want 30", len(common))
	}
}

func TestParse_NoLeaf(t *testing.T) {
	good := leaf(t, 0)
	cut := func(n int) []byte { return good[:n] }
	with := func(at int, b byte) []byte { c := slices.Clone(good); c[at] = b; return c }
	for name, b := range map[string][]byte{
		"nothing":                       nil,
		"a header that is cut":          cut(3),
		"the footer beyond the end":     cut(0x30),
		"the footer in the header":      with(3, 2),
		"the first row in the header":   with(1, 1),
		"the first row after the terms": with(1, 0x20),
		"a term outside":                with(len(good)-1, 0x7f),
		"two terms at one place":        with(len(good)-1, 0),
		"more in common than there is":  with(28, 0x7f),
	} {
		if lists, ok := Parse(b); ok {
			t.Errorf("%s: got %s", name, text(lists))
		}
	}
}

func FuzzParse(f *testing.F) {
	for i := range leaves {
		f.Add(leaf(f, i))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lists, ok := Parse(b)
		if !ok && lists != nil {
			t.Error("lists of what is no leaf")
		}
		if len(lists) > len(b) {
			t.Errorf("%d lists in %d bytes", len(lists), len(b))
		}
		for _, l := range lists {
			if len(l.Rowids) > len(b) || !slices.IsSorted(l.Rowids) {
				t.Errorf("rows of %q: %v", l.Term, l.Rowids)
			}
		}
	})
}
