package hydrate

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/superfly/ltx"
)

// TestRecord_CutOff cuts a record off anywhere: it is refused, or lists no page
// too many.
func TestRecord_CutOff(t *testing.T) {
	r := &record{recordHeader: recordHeader{PageSize: 512, Commit: 1000, TXID: 7}}
	r.runs = makeRuns(300, 5, 1, 0, 699, 7)
	b, sum, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	base := len(b)
	ends := []int{base}
	var lists [][]uint32
	for i := range 5 {
		list := []uint32{uint32(i*10 + 1), uint32(i*10 + 2), 999}
		var more []byte
		more, sum = encodeForgotten(list, sum)
		b = append(b, more...)
		ends = append(ends, len(b))
		lists = append(lists, list)
	}
	for n := range len(b) + 1 {
		got, forgotten, err := parseRecord(b[:n])
		if n < base {
			if err == nil {
				t.Fatalf("%d of %d bytes are a record", n, base)
			}
			continue
		}
		if err != nil || got.TXID != 7 || !bytes.Equal(got.runs, r.runs) {
			t.Fatalf("%d bytes: %+v, error %v", n, got, err)
		}
		for i, list := range lists {
			for _, pgno := range list[:2] {
				if forgotten[pgno] != (n >= ends[i+1]) {
					t.Fatalf("%d bytes: page %d", n, pgno)
				}
			}
		}
	}
}

// Runs that are cut off, empty or too long are malformed.
func TestEachRun_Malformed(t *testing.T) {
	for _, tt := range []struct {
		b    []byte
		want bool
	}{
		{makeRuns(7, 1, 3, 2), true}, {makeRuns(7, 1), true}, {nil, true},
		{makeRuns(7), false}, {makeRuns(7, 1, 3), false}, {makeRuns(0, 1), false}, {makeRuns(7, 1, 4, 2), false}, {[]byte{0x80}, false}, {[]byte{7, 0x80}, false},
	} {
		if got := eachRun(tt.b, 10, func(uint32, uint32, ltx.TXID) {}); got != tt.want {
			t.Errorf("%x: %v", tt.b, got)
		}
	}
}

// makeRuns encodes pairs of a number of pages and their version.
func makeRuns(pairs ...uint64) (b []byte) {
	for _, x := range pairs {
		b = binary.AppendUvarint(b, x)
	}
	return b
}

// FuzzParseRecord parses any bytes as a record.
func FuzzParseRecord(f *testing.F) {
	r := &record{recordHeader: recordHeader{PageSize: 512, Commit: 100, TXID: 7, Files: []datedFile{{recordFile: recordFile{Level: 0, MinTXID: 7, MaxTXID: 7, Size: 100, Checksum: 1}}}, Samples: []sample{{Pgno: 1, CRC64: 2}}}}
	r.runs = makeRuns(30, 5, 1, 0, 69, 7)
	b, sum, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	more, _ := encodeForgotten([]uint32{1, 2, 100}, sum)
	f.Add(b)
	f.Add(append(b, more...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(recordMagic) + 8; len(b) > n+8 {
			// Nearly all inputs have a wrong checksum. Try them with the right
			// one.
			again := &record{}
			again.PageSize, again.Commit = 512, 100
			again.runs = b[n:]
			if enc, _, err := again.encode(); err == nil {
				checkRecord(t, append(enc, b[n:]...))
			}
		}
		checkRecord(t, b)
	})
}

// checkRecord expects that a record lists no page beyond its commit.
func checkRecord(t *testing.T, b []byte) {
	r, _, err := parseRecord(b)
	if err != nil {
		return
	}
	n := uint64(0)
	if !eachRun(r.runs, r.Commit, func(first, pages uint32, _ ltx.TXID) {
		if uint64(first) != n+1 {
			t.Errorf("page %d follows page %d", first, n)
		}
		n += uint64(pages)
	}) || n > uint64(r.Commit) {
		t.Errorf("%d pages of %d", n, r.Commit)
	}
}
