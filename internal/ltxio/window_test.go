package ltxio

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/superfly/ltx"
)

// denseFile returns the size and the end of a file with frames of random sizes,
// from its page index on, and the entries of the index.
func denseFile(t testing.TB, rng *rand.Rand, pageSize, commit uint32) (hdr ltx.Header, tail []byte, size int64, entries []Entry) {
	t.Helper()
	hdr = header(pageSize, commit, 1, 9)
	tail = make([]byte, ltx.PageHeaderSize)
	end := int64(ltx.HeaderSize)
	most := 1 + rng.Uint32N(pageSize)
	for pgno := uint32(1); pgno <= commit; pgno++ {
		if pgno == hdr.LockPgno() {
			continue
		}
		if pgno%1000 == 0 {
			most = 1 + rng.Uint32N(pageSize)
		}
		e := Entry{Pgno: pgno, Offset: end, Size: minFrame + rng.Uint32N(most)}
		end += int64(e.Size)
		entries = append(entries, e)
		tail = binary.AppendUvarint(tail, uint64(e.Pgno))
		tail = binary.AppendUvarint(tail, uint64(e.Offset))
		tail = binary.AppendUvarint(tail, uint64(e.Size))
	}
	tail = append(tail, 0)
	tail = binary.BigEndian.AppendUint64(tail, uint64(len(tail)-ltx.PageHeaderSize))
	trailer, err := (&ltx.Trailer{FileChecksum: ltx.ChecksumFlag}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	tail = append(tail, trailer...)
	return hdr, tail, end + int64(len(tail)), entries
}

// TestWindow_AnyBytes decodes windows that begin and end at any byte. They have
// the entries of the index that are whole.
func TestWindow_AnyBytes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 3))
	for _, tc := range []struct{ pageSize, commit uint32 }{{512, 1}, {512, 2}, {512, 127}, {512, 40_000}, {65536, 16_384}, {65536, 16_390}, {4096, 20_000}} {
		hdr, tail, size, entries := denseFile(t, rng, tc.pageSize, tc.commit)
		if _, _, err := ParseTail(tail, hdr, size); err != nil {
			t.Fatal(err)
		}
		d, _, err := ParseDenseTail(tail[len(tail)-indexFooterSize:], hdr, size)
		if err != nil {
			t.Fatal(err)
		}
		if int(d.Pages()) != len(entries) {
			t.Fatalf("%d pages, want %d", d.Pages(), len(entries))
		}
		from := size - int64(len(tail))
		whole := tail[d.Start-from : d.End-from]
		check := func(first, last int) {
			w, err := d.Window(whole[first:last], d.Start+int64(first))
			if err != nil {
				t.Fatalf("%d pages, window %d-%d of %d: %v", tc.commit, first, last, len(whole), err)
			}
			i, _ := slices.BinarySearchFunc(entries, w.Start.Pgno, func(e Entry, pgno uint32) int { return int(e.Pgno) - int(pgno) })
			if at := w.Start; first > 0 && at.At-d.Start-int64(first) >= maxEntrySize {
				t.Fatalf("window %d-%d begins at %d", first, last, at.At)
			}
			w.Each(func(e Entry, at int64) bool {
				if e != entries[i] {
					t.Fatalf("window %d-%d: %v, want %v", first, last, e, entries[i])
				}
				if again, n, err := decodeEntry(whole[at-d.Start:]); err != nil || n == 0 || again != e {
					t.Fatalf("window %d-%d: %v is not at %d", first, last, e, at)
				}
				i++
				return true
			})
			var marks []Anchor
			w.Each(func(e Entry, at int64) bool {
				if (e.Pgno-1)%MarkEvery == 0 || e.Pgno-1 == d.LockPgno {
					marks = append(marks, Anchor{e.Pgno, at, e.Offset})
				}
				return true
			})
			if !slices.Equal(w.Marks, marks) {
				t.Fatalf("window %d-%d has the marks %v, want %v", first, last, w.Marks, marks)
			}
			if next := w.Next; last == len(whole) && (i != len(entries) || next != d.EndAnchor()) || last-int(next.At-d.Start) >= maxEntrySize {
				t.Fatalf("window %d-%d ends at %+v", first, last, next)
			}
		}
		check(0, len(whole))
		for range 300 {
			first := rng.IntN(len(whole))
			last := min(len(whole), first+(minChain+2)*maxEntrySize+rng.IntN(1000))
			if last-first >= (minChain+2)*maxEntrySize {
				check(first, last)
			}
			check(0, max(last, min(len(whole), maxEntrySize)))
		}
	}
}

// TestFollow decodes all entries of an index that need no mark at once, whatever sizes
// their numbers have. An entry with a wrong bit ends that.
func TestFollow(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 3))
	for _, tc := range []struct{ pageSize, commit uint32 }{{512, 3}, {512, 130}, {4096, 40_000}, {65536, 16_500}} {
		hdr, tail, size, entries := denseFile(t, rng, tc.pageSize, tc.commit)
		d, _, err := ParseDenseTail(tail, hdr, size)
		if err != nil {
			t.Fatal(err)
		}
		from := size - int64(len(tail))
		at := d.Start
		for i := 0; i < len(entries); {
			e := entries[i]
			most := d.unmarked(e.Pgno)
			rest := tail[at-from : d.End-from]
			sizes, next, n := d.follow(rest, Anchor{e.Pgno, at, e.Offset}, nil, most)
			if ends := len(rest)-n < followRoom; len(sizes) != most && !ends {
				t.Fatalf("%d of %d entries from page %d on", len(sizes), most, e.Pgno)
			}
			for k, size := range sizes {
				if want := entries[i+k]; size != want.Size {
					t.Fatalf("page %d has %d bytes, want %d", want.Pgno, size, want.Size)
				}
			}
			if before := n - maxEntrySize; before > 0 { // what follows shows it
				bit := rng.IntN(8 * before)
				changed := slices.Clone(rest)
				changed[bit/8] ^= 1 << (bit % 8)
				if got, _, _ := d.follow(changed, Anchor{e.Pgno, at, e.Offset}, nil, most); len(got) == most {
					t.Fatalf("%d entries from page %d on follow from each other in spite of a wrong bit", most, e.Pgno)
				}
			}
			if i += len(sizes); i < len(entries) && len(sizes) > 0 {
				if want := (Anchor{entries[i].Pgno, at + int64(n), entries[i].Offset}); next != want {
					t.Fatalf("the next entry is %+v, want %+v", next, want)
				}
			}
			at += int64(n)
			if i < len(entries) { // the one that ended it
				_, n, err := decodeEntry(tail[at-from : d.End-from])
				if err != nil || n == 0 {
					t.Fatalf("entry of page %d: %v", entries[i].Pgno, err)
				}
				at, i = at+int64(n), i+1
			}
		}
		if at != d.End {
			t.Errorf("entries end at %d, want %d", at, d.End)
		}
	}
}

// TestWindow_Guess guesses where entries are. In an index whose frames have much
// the same sizes everywhere, the guess is nearly right.
func TestWindow_Guess(t *testing.T) {
	hdr := header(512, 3_000_000, 1, 9)
	rng := rand.New(rand.NewPCG(4, 4))
	d := Dense{Commit: hdr.Commit, LockPgno: hdr.LockPgno(), Start: 5000}
	at, offset := d.Start, int64(ltx.HeaderSize)
	places, sizes := make([]int64, hdr.Commit+1), make([]int64, hdr.Commit+1)
	for pgno := uint32(1); pgno <= hdr.Commit; pgno++ {
		if pgno == d.LockPgno {
			continue
		}
		places[pgno] = at
		size := int64(100 + rng.IntN(60))
		sizes[pgno] = size
		at += int64(len(binary.AppendUvarint(nil, uint64(pgno))) + len(binary.AppendUvarint(nil, uint64(offset))) + len(binary.AppendUvarint(nil, uint64(size))))
		offset += size
	}
	d.End, d.FramesEnd = at, offset
	for range 1000 {
		pgno := 1 + rng.Uint32N(hdr.Commit)
		if pgno == d.LockPgno {
			continue
		}
		if miss := d.Guess(pgno, d.FirstAnchor(), d.EndAnchor()) - places[pgno]; max(miss, -miss) > 4096 {
			t.Fatalf("page %d is %d bytes off", pgno, miss)
		}
	}
	offsets := make(map[uint32]int64) // of some pages, to guess between them
	for pgno, at := uint32(1), int64(ltx.HeaderSize); pgno <= hdr.Commit; pgno++ {
		if pgno%100_000 == 7 {
			offsets[pgno] = at
		}
		if pgno != d.LockPgno {
			at += sizes[pgno]
		}
	}
	for lo, from := range offsets {
		for hi, to := range offsets {
			if hi <= lo {
				continue
			}
			pgno := lo + rng.Uint32N(hi-lo)
			if pgno == d.LockPgno {
				continue
			}
			if miss := d.Guess(pgno, Anchor{lo, places[lo], from}, Anchor{hi, places[hi], to}) - places[pgno]; max(miss, -miss) > 4096 {
				t.Fatalf("page %d, between %d and %d, is %d bytes off", pgno, lo, hi, miss)
			}
		}
	}
	if got := d.Guess(d.After(d.Commit), d.FirstAnchor(), d.EndAnchor()); got != d.End {
		t.Errorf("the end is at %d, want %d", got, d.End)
	}
	if got := d.Guess(1, d.FirstAnchor(), d.EndAnchor()); got != d.Start {
		t.Errorf("the start is at %d, want %d", got, d.Start)
	}
}

// TestWindow_Corrupt changes one byte of an index. A window with that byte is
// an error, or it says the same as the whole index, if that is valid.
func TestWindow_Corrupt(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 3))
	hdr, tail, size, _ := denseFile(t, rng, 512, 3000)
	d, _, err := ParseDenseTail(tail, hdr, size)
	if err != nil {
		t.Fatal(err)
	}
	from := size - int64(len(tail))
	for range 3000 {
		i := d.Start - from + rng.Int64N(d.End-d.Start)
		old := tail[i]
		tail[i] ^= byte(1 + rng.IntN(255))
		lo, hi := max(d.Start-from, i-100), min(d.End-from, i+100)
		if w, err := d.Window(tail[lo:hi], from+lo); err == nil {
			t.Fatalf("byte %d changed from %#x to %#x: window of pages %d to %d", i, old, tail[i], w.Start.Pgno, w.Next.Pgno)
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		tail[i] = old
	}
	for name, change := range map[string]func(hdr *ltx.Header){
		"commit larger":    func(hdr *ltx.Header) { hdr.Commit = 1 << 30 },
		"commit smaller":   func(hdr *ltx.Header) { hdr.Commit = 1 },
		"not from the top": func(hdr *ltx.Header) { hdr.MinTXID = 2 },
	} {
		hdr := hdr
		change(&hdr)
		if _, _, err := ParseDenseTail(tail, hdr, size); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWindow_FrameSizes decodes windows with the smallest and the largest frames, and with
// frames that are smaller or larger than any can be.
func TestWindow_FrameSizes(t *testing.T) {
	const commit, first = 1000, 500
	hdr := header(512, commit, 1, 9)
	most := MaxFrameSize(512)
	d := Dense{Commit: commit, LockPgno: hdr.LockPgno(), Start: 1 << 30, End: 1<<30 + commit*10, FramesEnd: 1<<30 - ltx.PageHeaderSize, maxFrame: most}
	for _, n := range []int{0, 3, 6} { // which of the frames
		for size, ok := range map[int64]bool{minFrame - 1: false, minFrame: true, most: true, most + 1: false, 0: false, 1 << 21: false, 1<<21 + 100: false, 1<<22 + 100: false, 1<<27 + 100: false} {
			var b []byte
			offset := int64(ltx.HeaderSize + first*100)
			for i := range 7 {
				frame := int64(100)
				if i == n {
					frame = size
				}
				b = binary.AppendUvarint(b, uint64(first+i))
				b = binary.AppendUvarint(b, uint64(offset))
				b = binary.AppendUvarint(b, uint64(frame))
				offset += frame
			}
			w, err := d.Window(b, d.Start+first*8)
			if (err == nil && w.Start.Pgno == first && len(w.Sizes) == 7) != ok && (n > 0 || ok) || err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("frame %d of %d bytes: %d frames from page %d on, %v", n, size, len(w.Sizes), w.Start.Pgno, err)
			}
		}
	}
}

// A window in the middle has as many entries as it takes to tell them from other bytes,
// and its first frame lies where it can be.
func TestWindow_TooFew(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 3))
	hdr, tail, size, entries := denseFile(t, rng, 512, 3000)
	d, _, err := ParseDenseTail(tail, hdr, size)
	if err != nil {
		t.Fatal(err)
	}
	from := size - int64(len(tail))
	whole := tail[d.Start-from : d.End-from]
	ends := []int{0} // of entries
	for at := 0; len(ends) < 1000; {
		_, n, err := decodeEntry(whole[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += n
		ends = append(ends, at)
	}
	for n := 1; n <= minChain+1; n++ {
		first := ends[700]
		w, err := d.Window(whole[first:ends[700+n]], d.Start+int64(first))
		if ok := n >= minChain; (err == nil) != ok || ok && w.Start.Pgno != entries[700].Pgno || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d entries: from page %d on, %v", n, w.Start.Pgno, err)
		}
	}
	if _, err := d.Window(nil, d.Start+5); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page index has too few entries") {
		t.Errorf("no entry: %v", err)
	}
	for before, ok := range map[int64]bool{100*minEntrySize - 1: false, 100 * minEntrySize: true, 100 * maxEntrySize: true, 100*maxEntrySize + 1: false} {
		var b []byte
		offset := int64(ltx.HeaderSize + 100*50)
		for i := range uint64(5) {
			b = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, 101+i), uint64(offset)), 50)
			offset += 50
		}
		w, err := d.Window(b, d.Start+before)
		if isFirst := err == nil && w.Start.Pgno == 101; isFirst != ok {
			t.Errorf("100 entries of %d bytes before: window from page %d on, %v", before, w.Start.Pgno, err)
		}
	}
	for frames, ok := range map[int64]bool{minFrame - 1: false, minFrame: true, MaxFrameSize(512): true, MaxFrameSize(512) + 1: false} {
		const pgno = 100
		var b []byte
		offset := ltx.HeaderSize + (pgno-1)*frames // as if all frames before had that size
		for i := range uint64(5) {
			b = binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(b, pgno+i), uint64(offset)), 50)
			offset += 50
		}
		d := d
		d.FramesEnd = 1 << 30
		d.Start, d.End = d.FramesEnd+ltx.PageHeaderSize, d.FramesEnd+1<<20
		w, err := d.Window(b, d.Start+(pgno-1)*8)
		if isFirst := err == nil && w.Start.Pgno == pgno; isFirst != ok {
			t.Errorf("%d frames of %d bytes before: window from page %d on, %v", pgno-1, frames, w.Start.Pgno, err)
		}
	}
}

// TestParseDenseTail_Bounds gives the entries and the frames of a file as little and as
// much room as they can take, and a byte less and more.
func TestParseDenseTail_Bounds(t *testing.T) {
	for _, pages := range []int64{1, 2, 100} {
		hdr := header(512, uint32(pages), 1, 9)
		trailer, err := (&ltx.Trailer{FileChecksum: ltx.ChecksumFlag}).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		parse := func(entries, frames int64) error {
			tail := append(binary.BigEndian.AppendUint64(nil, uint64(entries+1)), trailer...)
			size := ltx.HeaderSize + frames + ltx.PageHeaderSize + entries + 1 + indexFooterSize
			d, _, err := ParseDenseTail(tail, hdr, size)
			if err == nil && (d.End-d.Start != entries || d.FramesEnd != ltx.HeaderSize+frames) {
				t.Errorf("%d bytes of entries, %d of frames: %+v", entries, frames, d)
			}
			return err
		}
		few, many := pages*minFrame, pages*MaxFrameSize(512)
		for _, c := range []struct {
			entries, frames int64
			ok              bool
		}{
			{pages * minEntrySize, few, true}, {pages * maxEntrySize, many, true},
			{pages*minEntrySize - 1, few, false}, {pages*maxEntrySize + 1, few, false},
			{pages * minEntrySize, few - 1, false}, {pages * minEntrySize, many + 1, false},
			{pages * 5, pages * 100, true},
		} {
			if err := parse(c.entries, c.frames); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrCorrupt) {
				t.Errorf("%d pages: %d bytes of entries, %d of frames: %v", pages, c.entries, c.frames, err)
			}
		}
	}
}

// TestWindow_Encodings decodes windows in which a size is written with more bytes than it
// takes, or is too large. The entries after it fit either what it says or what it was.
func TestWindow_Encodings(t *testing.T) {
	const commit, first = 1000, 500
	hdr := header(512, commit, 1, 9)
	d := Dense{Commit: commit, LockPgno: hdr.LockPgno(), Start: 1 << 30, End: 1<<30 + commit*10, FramesEnd: 1<<30 - ltx.PageHeaderSize, maxFrame: MaxFrameSize(512)}
	for _, c := range []struct {
		size []byte // of 100 bytes, for those who take it for that
		ok   bool
	}{
		{[]byte{100}, true}, {[]byte{0xe4, 0}, false}, {[]byte{0xe4, 0x80, 0}, false}, {[]byte{0xe4, 0x80, 0x80, 0}, false},
		{[]byte{0xe4, 0x80, 0x80, 1}, false}, {[]byte{0xe4, 0x80, 0x80, 2}, false}, {[]byte{0xe4, 0x80, 0x80, 0x40}, false}, {[]byte{0xe4, 0x80, 0x80, 0x80, 1}, false},
	} {
		var b []byte
		for i := range 10 {
			b = binary.AppendUvarint(b, uint64(first+i))
			b = binary.AppendUvarint(b, uint64(ltx.HeaderSize+(first+i)*100))
			if i == 4 {
				b = append(b, c.size...)
			} else {
				b = append(b, 100)
			}
		}
		w, err := d.Window(b, d.Start+first*8)
		if isWhole := err == nil && len(w.Sizes) == 10; isWhole != c.ok || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("a size of % x: %d entries, %v", c.size, len(w.Sizes), err)
		}
	}
}

// TestWindow_End decodes windows of the last entries of an index. After the entry of the
// last page there is none, and without it the index does not end.
func TestWindow_End(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 3))
	hdr, tail, size, entries := denseFile(t, rng, 512, 3000)
	d, _, err := ParseDenseTail(tail, hdr, size)
	if err != nil {
		t.Fatal(err)
	}
	from := size - int64(len(tail))
	last := tail[d.End-from-100 : d.End-from]
	if w, err := d.Window(last, d.End-100); err != nil || w.Next != d.EndAnchor() {
		t.Fatalf("the last 100 bytes: up to %+v, %v", w.Next, err)
	}
	// With the same bytes 10 bytes earlier, the last page comes before the end.
	e := entries[len(entries)-1]
	after := binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(e.Pgno)+1), uint64(e.Offset)+uint64(e.Size)), minFrame)
	for name, b := range map[string][]byte{
		"nothing after it":    last,
		"an entry after it":   append(slices.Clone(last), after...),
		"a part of an entry":  append(slices.Clone(last), after[:2]...),
		"a byte of an entry":  append(slices.Clone(last), after[:1]...),
		"the entry once more": append(slices.Clone(last), last[len(last)-int(maxEntrySize):]...),
	} {
		d := d
		d.End += 10
		at := d.End - 10 - int64(len(last))
		if name != "nothing after it" && name != "the entry once more" {
			d.End = at + int64(len(b)) // which is where the index ends
		}
		if w, err := d.Window(b, at); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: up to %+v, %v", name, w.Next, err)
		}
	}
	if _, err := d.Window(append(slices.Clone(last), 0), d.End-100); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page index has no bytes ") {
		t.Errorf("a window beyond the end: %v", err)
	}
	longer := d
	longer.FramesEnd += 100
	if _, err := longer.Window(last, d.End-100); !errors.Is(err, ErrCorrupt) {
		t.Errorf("the last entries, with longer frames: %v", err)
	}
	if _, err := longer.Window(tail[d.Start-from:d.End-from], d.Start); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page index ends with page 3000 at offset ") {
		t.Errorf("all entries, with longer frames: %v", err)
	}
	for _, commit := range []uint32{1, 2999, 3001} {
		d := d
		d.Commit = commit
		if w, err := d.Window(last, d.End-100); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the last entries, with %d pages: up to %+v, %v", commit, w.Next, err)
		}
		if w, err := d.Window(tail[d.Start-from:d.End-from], d.Start); !errors.Is(err, ErrCorrupt) {
			t.Errorf("all entries, with %d pages: up to %+v, %v", commit, w.Next, err)
		}
	}
}

// TestWindow_GuessOfNothing guesses between places that contradict each other, as parts of
// a damaged index can. The guess is between them.
func TestWindow_GuessOfNothing(t *testing.T) {
	hdr := header(512, 1000, 1, 9)
	d := Dense{Commit: hdr.Commit, LockPgno: hdr.LockPgno(), Start: 5000, End: 15_000, FramesEnd: 4900}
	from := Anchor{100, 6000, 3000}
	for _, to := range []Anchor{{200, 7000, 3000}, {200, 7000, 2000}, {101, 6001, 3000}, {1001, 6000, 128}} {
		for pgno := from.Pgno; pgno <= to.Pgno; pgno++ {
			if at := d.Guess(pgno, from, to); at < from.At || at > to.At {
				t.Errorf("page %d between %+v and %+v: %d", pgno, from, to, at)
			}
		}
	}
}

// TestWindow_NoPage decodes windows whose first entry is of a page that no index has,
// and whose others follow from it.
func TestWindow_NoPage(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 3))
	hdr, tail, size, entries := denseFile(t, rng, 65536, 16_400)
	d, _, err := ParseDenseTail(tail, hdr, size)
	if err != nil {
		t.Fatal(err)
	}
	window := func(first Entry) ([]byte, int64) {
		var b []byte
		offset := first.Offset
		for pgno, n := first.Pgno, 0; n < 2*minChain; pgno, n = d.After(pgno), n+1 {
			b = binary.AppendUvarint(b, uint64(pgno))
			b = binary.AppendUvarint(b, uint64(offset))
			b = binary.AppendUvarint(b, minFrame)
			offset += minFrame
		}
		return b, d.Start + 8*int64(max(first.Pgno, 1)-1)
	}
	before := entries[d.Before(d.LockPgno)-1]
	for _, c := range []struct {
		first Entry
		ok    bool
	}{
		{Entry{Pgno: 10, Offset: ltx.HeaderSize + 9*minFrame}, true},
		{Entry{Pgno: 0, Offset: ltx.HeaderSize}, false},
		{Entry{Pgno: d.LockPgno - 4, Offset: before.Offset / 2}, true},
		{Entry{Pgno: d.LockPgno, Offset: before.Offset / 2}, false},
	} {
		b, at := window(c.first)
		w, err := d.Window(b, at) // which may begin with the entry after the first one
		if isFirst := err == nil && w.Start.Pgno == c.first.Pgno; isFirst != c.ok || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("page %d at %d: window from page %d on, %v", c.first.Pgno, at, w.Start.Pgno, err)
		}
	}
}

// FuzzIndexWindow decodes arbitrary bytes as a window. What is decoded follows
// from each other, stays within the file, and lies where the window says.
func FuzzIndexWindow(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, commit := range []uint32{1, 100, 3000} {
		hdr, tail, size, _ := denseFile(f, rng, 512, commit)
		d, _, err := ParseDenseTail(tail, hdr, size)
		if err != nil {
			f.Fatal(err)
		}
		from := size - int64(len(tail))
		f.Add(tail[d.Start-from:d.End-from], commit, uint32(d.End-d.Start), uint32(0), d.FramesEnd)
		f.Add(tail[d.Start-from:][:(d.End-d.Start)/2], commit, uint32(d.End-d.Start), uint32(0), d.FramesEnd)
		f.Add(tail[d.Start-from+(d.End-d.Start)/3:d.End-from], commit, uint32(d.End-d.Start), uint32((d.End-d.Start)/3), d.FramesEnd)
	}
	f.Fuzz(func(t *testing.T, b []byte, commit, length, skip uint32, framesEnd int64) {
		if commit == 0 || commit > maxCommit || framesEnd < 0 || framesEnd > MaxFileSize {
			return
		}
		hdr := header(512, commit, 1, 9)
		d := Dense{Commit: commit, LockPgno: hdr.LockPgno(), Start: framesEnd + ltx.PageHeaderSize, FramesEnd: framesEnd, maxFrame: MaxFrameSize(512)}
		d.End = d.Start + int64(length)
		at := d.Start + int64(skip)
		w, err := d.Window(b, at)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		next := w.Start
		if next.At < at || next.At-at >= maxEntrySize {
			t.Fatalf("a window at %d begins at %d", at, next.At)
		}
		w.Each(func(e Entry, at int64) bool {
			if e.Pgno != next.Pgno || at != next.At || e.Offset != next.Offset || e.Pgno > commit || e.Pgno == d.LockPgno || e.Offset+int64(e.Size) > framesEnd {
				t.Fatalf("%+v at %d, want %+v", e, at, next)
			}
			_, n, _ := decodeEntry(b[at-(d.Start+int64(skip)):])
			next = Anchor{d.After(e.Pgno), at + int64(n), e.Offset + int64(e.Size)}
			return true
		})
		if next != w.Next || next.At > d.End {
			t.Fatalf("the window ends at %+v, not %+v", next, w.Next)
		}
	})
}
