package fulltext

import (
	"encoding/hex"
	"slices"
	"testing"
)

// Structure records that SQLite wrote: three segments of one level, two levels, and
// one of a contentless table.
var structures = []struct {
	hex  string
	want []Segment
}{
	{"000000010103000003010101020107030101", []Segment{{3, 1, 1}, {2, 1, 7}, {1, 1, 1}}},
	{"0000000102020000010101010001040107", []Segment{{1, 1, 1}, {4, 1, 7}}},
	{"00000001FF000001010200000201010101010101010201010202000001", []Segment{{2, 1, 1}, {1, 1, 1}}},
}

func TestParseStructure(t *testing.T) {
	for _, tc := range structures {
		b, err := hex.DecodeString(tc.hex)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := ParseStructure(b); !ok || !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.hex, got, tc.want)
		}
		for n := range b {
			if got, ok := ParseStructure(b[:n]); ok {
				t.Errorf("%s: the first %d bytes give %v", tc.hex, n, got)
			}
		}
	}
}

func TestParseStructure_None(t *testing.T) {
	for name, text := range map[string]string{
		"more segments in a level than in all": "0000000101010000020101010201",
		"fewer segments in a level":            "00000001010300000101010102",
		"too many segments":                    "0000000101FFFFFFFF7F000001010101",
		"too many levels":                      "00000001FFFFFFFF7F01000001010101",
		"the last leaf before the first":       "000000010101000001010302",
		"segment 0":                            "000000010101000001000101",
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := ParseStructure(b); ok {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestParseLeafID(t *testing.T) {
	for _, tc := range []struct {
		rowid, segment, page int64
		ok                   bool
	}{
		{137438953473, 1, 1, true},
		{Segment{ID: 7}.LeafID(1 << 20), 7, 1 << 20, true},
		{StructureID, 0, 0, false},
		{1<<37 | 1<<36 | 1, 0, 0, false}, // of an index of a list
		{(1<<16 + 1) << 37, 0, 0, false}, // deleted rows of a contentless table
		{-1, 0, 0, false},
	} {
		segment, page, ok := ParseLeafID(tc.rowid)
		if ok != tc.ok || ok && (segment != tc.segment || page != tc.page) {
			t.Errorf("%d: got leaf %d of segment %d, %v", tc.rowid, page, segment, ok)
		}
	}
}

func FuzzParseStructure(f *testing.F) {
	for _, tc := range structures {
		b, _ := hex.DecodeString(tc.hex)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		segments, ok := ParseStructure(b)
		if !ok && segments != nil {
			t.Error("segments of what is no structure record")
		}
		if len(segments) > len(b) {
			t.Errorf("%d segments in %d bytes", len(segments), len(b))
		}
	})
}
