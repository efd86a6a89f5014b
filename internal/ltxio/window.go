package ltxio

import (
	"math/bits"
	"slices"

	"github.com/superfly/ltx"
)

// Dense says where the page index of a file lies that contains every page of
// its database, and what its entries can be. Such an index can be read in
// windows, because its entries follow from each other: page numbers are
// successive, except for the lock page, and frames are adjacent.
type Dense struct {
	Commit     uint32 // size of the database, in pages
	LockPgno   uint32 // number of the page that has no entry
	Start, End int64  // the entries are at these bytes of the file
	FramesEnd  int64  // offset of the end of the frames

	maxFrame int64
}

// minFrame is the minimum size of a frame, and minEntrySize that of an index
// entry.
const (
	minFrame     = ltx.PageHeaderSize + 1
	minEntrySize = 3
)

// ParseDenseTail decodes what the end of a file says of its page index. It needs
// only the part after the index, which tail, the last bytes of the file, must
// contain. hdr is the header of the file as ParseHeader returned it, and the file
// must begin at transaction 1.
func ParseDenseTail(tail []byte, hdr ltx.Header, fileSize int64) (Dense, ltx.Trailer, error) {
	var trailer ltx.Trailer
	need, err := TailSize(tail, fileSize)
	if err != nil {
		return Dense{}, trailer, err
	}
	if !hdr.IsSnapshot() {
		return Dense{}, trailer, corrupt("a file of transactions %s-%s need not have every page", hdr.MinTXID, hdr.MaxTXID)
	}
	if err := trailer.UnmarshalBinary(tail[len(tail)-ltx.TrailerSize:]); err != nil {
		return Dense{}, trailer, corrupt("trailer: %v", err)
	}
	if err := trailer.Validate(hdr); err != nil {
		return Dense{}, trailer, corrupt("trailer: %v", err)
	}
	d := Dense{
		Commit: hdr.Commit, LockPgno: hdr.LockPgno(), FramesEnd: fileSize - need,
		Start: fileSize - need + ltx.PageHeaderSize, End: fileSize - indexFooterSize - 1,
		maxFrame: MaxFrameSize(hdr.PageSize),
	}
	pages, frames := int64(d.Pages()), d.FramesEnd-ltx.HeaderSize
	if n := d.End - d.Start; n < pages*minEntrySize || n > pages*maxEntrySize {
		return d, trailer, corrupt("page index has %d bytes for %d pages", n, pages)
	}
	if frames < pages*minFrame || frames > pages*d.maxFrame {
		return d, trailer, corrupt("frames have %d bytes for %d pages", frames, pages)
	}
	return d, trailer, nil
}

// Pages returns the number of entries.
func (d *Dense) Pages() uint32 { return d.Before(d.Commit + 1) }

// MaxFrame returns an upper bound of the size of a frame.
func (d *Dense) MaxFrame() int64 { return d.maxFrame }

// Before returns the number of entries before that of a page.
func (d *Dense) Before(pgno uint32) uint32 {
	if pgno > d.LockPgno {
		return pgno - 2
	}
	return pgno - 1
}

// After returns the page whose entry comes after that of a page, or first if the
// page is 0. It is beyond Commit after the last entry.
func (d *Dense) After(pgno uint32) uint32 {
	if pgno+1 == d.LockPgno {
		return pgno + 2
	}
	return pgno + 1
}

// Window holds successive entries of a page index.
type Window struct {
	Start Anchor   // place of the first entry
	Next  Anchor   // where the window ends
	Sizes []uint32 // of the frames
	Marks []Anchor // the first entries of blocks of MarkEvery pages

	d *Dense
}

// MarkEvery is the number of pages of a block. The lock page is the first page of a
// block, whatever the page size is.
const MarkEvery = 4096

// Anchor is the place of an entry in a page index.
type Anchor struct {
	Pgno   uint32
	At     int64 // position of the entry in the file
	Offset int64 // offset of the frame
}

// FirstAnchor returns the place of the first entry.
func (d *Dense) FirstAnchor() Anchor {
	return Anchor{d.After(0), d.Start, ltx.HeaderSize}
}

// EndAnchor returns the place after the last entry.
func (d *Dense) EndAnchor() Anchor { return Anchor{d.After(d.Commit), d.End, d.FramesEnd} }

// minChain is the number of entries that have to follow from each other before
// bytes from the middle of an index are taken for entries.
const minChain = 3

// Window decodes the entries in b, which lies at a position of the file. It may
// begin and end in the middle of an entry: a start from which all entries follow
// from each other is the right one. A window that touches the start or the end
// of the index must fit there.
func (d *Dense) Window(b []byte, at int64) (Window, error) {
	if at < d.Start || at+int64(len(b)) > d.End {
		return Window{}, corrupt("page index has no bytes %d to %d", at, at+int64(len(b)))
	}
	if at == d.Start {
		return d.chain(b, at)
	}
	var first error
	for skip := 0; skip < min(maxEntrySize, len(b)); skip++ {
		w, err := d.chain(b[skip:], at+int64(skip))
		if err == nil && (len(w.Sizes) >= minChain || w.Next.At == d.End) {
			return w, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = corrupt("page index has too few entries")
	}
	return Window{}, corrupt("page index at %d: no entries that follow from each other: %v", at, first)
}

// chain decodes entries of which the first begins at the start of b.
func (d *Dense) chain(b []byte, at int64) (Window, error) {
	w := Window{d: d}
	isEnd := at+int64(len(b)) == d.End
	var next Anchor
	rest := b
	sizes := make([]uint32, 0, likely)
	for len(rest) > 0 {
		if most := d.unmarked(next.Pgno); most > 0 {
			var n int
			sizes = room(sizes, rest)
			if sizes, next, n = d.follow(rest, next, sizes, min(most, cap(sizes)-len(sizes))); n > 0 {
				rest = rest[n:]
				continue
			}
		}
		e, n, err := decodeEntry(rest)
		if err != nil {
			return w, err
		}
		if n == 0 {
			break // the rest of the entry is not in b
		}
		if len(sizes) == 0 {
			if err := d.checkStart(e, at); err != nil {
				return w, err
			}
			w.Start = Anchor{e.Pgno, at, e.Offset}
		} else if e.Pgno != next.Pgno || e.Offset != next.Offset {
			return w, corrupt("page index has page %d at offset %d after page %d, which ends at %d", e.Pgno, e.Offset, next.Pgno-1, next.Offset)
		}
		if int64(e.Size) < minFrame || int64(e.Size) > d.maxFrame {
			return w, corrupt("page index gives page %d a frame of %d bytes", e.Pgno, e.Size)
		}
		sizes = append(room(sizes, rest), e.Size)
		if (e.Pgno-1)%MarkEvery == 0 || e.Pgno-1 == d.LockPgno {
			w.Marks = append(w.Marks, Anchor{e.Pgno, at + int64(len(b)-len(rest)), e.Offset})
		}
		rest = rest[n:]
		next = Anchor{d.After(e.Pgno), at + int64(len(b)-len(rest)), e.Offset + int64(e.Size)}
		if next.Pgno > d.Commit && (len(rest) > 0 || !isEnd) {
			return w, corrupt("page index has entries after page %d of %d", e.Pgno, d.Commit)
		}
		if err := d.checkRoom(next); err != nil {
			return w, err
		}
	}
	if len(sizes) == 0 {
		return w, corrupt("page index has no whole entry")
	}
	if isEnd && (next.Pgno <= d.Commit || next.Offset != d.FramesEnd) {
		return w, corrupt("page index ends with page %d at offset %d, the database with page %d at %d", next.Pgno-1, next.Offset, d.Commit, d.FramesEnd)
	}
	w.Next, w.Sizes = next, sizes
	return w, nil
}

// likely is the number of entries after which bytes are taken for an index, so that it
// is worth while to have room for all of them. What does not begin like one has none.
const likely = 64

// room returns sizes with room for more. If there is none, it makes room for all
// entries in rest, of some 8 bytes each.
func room(sizes []uint32, rest []byte) []uint32 {
	if len(sizes) < cap(sizes) {
		return sizes
	}
	return slices.Grow(sizes, max(likely, len(rest)/8))
}

// checkRoom checks whether the frames from a place on have room before the end of all.
func (d *Dense) checkRoom(next Anchor) error {
	if next.Offset > d.FramesEnd-int64(d.Pages()-d.Before(next.Pgno))*minFrame {
		return corrupt("page index has page %d begin at %d, all frames end at %d", next.Pgno, next.Offset, d.FramesEnd)
	}
	return nil
}

// checkStart checks the first entry of a window, which is at a position.
func (d *Dense) checkStart(e Entry, at int64) error {
	if e.Pgno == 0 || e.Pgno > d.Commit || e.Pgno == d.LockPgno {
		return corrupt("page index has page %d in a database of %d pages", e.Pgno, d.Commit)
	}
	if at == d.Start && (e.Pgno != d.After(0) || e.Offset != ltx.HeaderSize) {
		return corrupt("page index begins with page %d at offset %d", e.Pgno, e.Offset)
	}
	before, entries := int64(d.Before(e.Pgno)), at-d.Start
	if entries < before*minEntrySize || entries > before*maxEntrySize {
		return corrupt("page index has page %d after %d bytes", e.Pgno, entries)
	}
	if frames := e.Offset - ltx.HeaderSize; frames < before*minFrame || frames > before*d.maxFrame {
		return corrupt("page index has page %d at offset %d", e.Pgno, e.Offset)
	}
	return nil
}

// decodeEntry decodes the entry at the start of b and returns its length, which
// is 0 if the entry is longer than b.
func decodeEntry(b []byte) (e Entry, n int, err error) {
	pgno, n := varint(b, 0)
	offset, n := varint(b, n)
	size, n := varint(b, n)
	switch {
	case n > maxEntrySize || pgno > maxCommit || offset > MaxFileSize || size > MaxFileSize>>8:
		return e, 0, corrupt("page index has an entry that is too large")
	case n > len(b):
		return e, 0, nil
	}
	return Entry{Pgno: uint32(pgno), Offset: int64(offset), Size: uint32(size)}, n, nil
}

// varint decodes the number that begins at byte i of b. It returns the end of the
// number: more than maxEntrySize if the number is too large or longer than it has to
// be, and more than len(b) if it is longer than b.
func varint(b []byte, i int) (v uint64, end int) {
	first := i
	for shift := 0; i < len(b) && i < maxEntrySize; shift += 7 {
		c := b[i]
		i++
		v |= uint64(c&0x7f) << shift
		if c == 0 && i > first+1 {
			return 0, maxEntrySize + 1
		}
		if c < 0x80 {
			return v, i
		}
	}
	return 0, max(len(b), i) + 1
}

// Each calls fn for every entry, with its position in the file, until fn returns
// false.
func (w *Window) Each(fn func(e Entry, at int64) bool) {
	a := w.Start
	for _, size := range w.Sizes {
		if !fn(Entry{Pgno: a.Pgno, Offset: a.Offset, Size: size}, a.At) {
			return
		}
		a.At += varintSize(uint64(a.Pgno)) + varintSize(uint64(a.Offset)) + varintSize(uint64(size))
		a.Pgno, a.Offset = w.d.After(a.Pgno), a.Offset+int64(size)
	}
}

// Find returns the entry of a page, or false if the window does not have it.
func (w *Window) Find(pgno uint32) (e Entry, ok bool) {
	w.Each(func(got Entry, _ int64) bool {
		e, ok = got, got.Pgno == pgno
		return !ok
	})
	return e, ok
}

// varintSize returns the size of a number as a varint.
func varintSize(v uint64) int64 { return int64(bits.Len64(v|1)+6) / 7 }

// Guess estimates the position of the entry of a page between two entries whose
// places are known. The sizes of page numbers are known, those of offsets follow
// from the average size of a frame, and only those of sizes are guessed.
func (d *Dense) Guess(pgno uint32, from, to Anchor) int64 {
	pages := float64(d.Before(to.Pgno) - d.Before(from.Pgno))
	if pages == 0 {
		return from.At
	}
	frame := max(minFrame, float64(to.Offset-from.Offset)/pages) // parts of a damaged index may contradict each other
	numbers := func(pgno uint32) float64 {
		n := float64(d.Before(pgno) - d.Before(from.Pgno))
		return float64(varintBytes(uint64(from.Pgno), uint64(pgno))) + varintBytesOf(float64(from.Offset), frame, n)
	}
	rest := float64(to.At-from.At) - numbers(to.Pgno)
	at := float64(from.At) + numbers(pgno) + rest*float64(d.Before(pgno)-d.Before(from.Pgno))/pages
	return min(max(int64(at), from.At), to.At)
}

// varintBytes returns the size of all numbers from first to last, without last,
// as varints.
func varintBytes(first, last uint64) (n uint64) {
	for limit, size := uint64(0), uint64(1); first < last; size++ {
		limit = 1 << (7 * size)
		if first < limit {
			n += (min(last, limit) - first) * size
			first = min(last, limit)
		}
	}
	return n
}

// varintBytesOf returns the size of n numbers as varints that begin at a number
// and are a step apart, which is positive.
func varintBytesOf(first, step, n float64) (bytes float64) {
	for size, done := 1.0, 0.0; done < n; size++ {
		limit := float64(uint64(1) << min(63, 7*uint64(size)))
		count := min(n, max(done, (limit-first)/step))
		if size >= 9 {
			count = n
		}
		bytes += (count - done) * size
		done = count
	}
	return bytes
}
