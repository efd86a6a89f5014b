// Package ltxio validates and decodes the parts of LTX v3 files that a reader
// fetches by range: header, page index, trailer and page frames.
//
// All input bytes are untrusted. No length, offset or page number is used
// before it is checked against the name and the size of the file and the other
// files of the replica.
//
// The format is that of github.com/superfly/ltx: a header of 100 bytes; page
// frames in page order, without gaps; six zero bytes; the page index; the size
// of the index as a big-endian u64; a trailer of 16 bytes.
package ltxio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"
)

// ErrCorrupt is wrapped by every error about the content of a file.
var ErrCorrupt = errors.New("corrupt ltx file")

// indexFooterSize is the size of the part after the page index: the size of the
// index and the trailer.
const indexFooterSize = 8 + ltx.TrailerSize

// MinFileSize is the size of the smallest well-formed file, which has no pages.
const MinFileSize = ltx.HeaderSize + ltx.PageHeaderSize + 1 + indexFooterSize

// MaxFileSize is the largest accepted file size. Packed offsets in a page table
// cannot be larger.
const MaxFileSize = 1 << 40

// frameOverhead is an upper bound of the bytes that a frame adds to the
// compressed page. It covers an LZ4 frame (descriptor, block size, end mark,
// checksums) and an LZ4 block (size field).
const frameOverhead = ltx.PageHeaderSize + 48

// MaxFrameSize returns an upper bound of the size of the frame of one page.
func MaxFrameSize(pageSize uint32) int64 {
	return int64(lz4.CompressBlockBound(int(pageSize))) + frameOverhead
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// ParseHeader decodes the header at the start of a file and checks it against
// the TXIDs in the file's name. b must have at least ltx.HeaderSize bytes.
func ParseHeader(b []byte, minTXID, maxTXID ltx.TXID) (ltx.Header, error) {
	var hdr ltx.Header
	if len(b) < ltx.HeaderSize {
		return hdr, corrupt("header has %d of %d bytes", len(b), ltx.HeaderSize)
	}
	if magic := string(b[:len(ltx.Magic)]); magic != ltx.Magic {
		return hdr, corrupt("it begins with %q, not with %q: it is no LTX file, or one of a newer format", magic, ltx.Magic)
	}
	if err := hdr.UnmarshalBinary(b[:ltx.HeaderSize]); err != nil {
		return hdr, corrupt("header: %v", err)
	}
	if err := hdr.Validate(); err != nil {
		return hdr, corrupt("header: %v", err)
	}
	if hdr.MinTXID != minTXID || hdr.MaxTXID != maxTXID {
		return hdr, corrupt("header is of transactions %s-%s", hdr.MinTXID, hdr.MaxTXID)
	}
	if hdr.Commit == 0 {
		// SQLite never shrinks a database to nothing.
		return hdr, corrupt("header says a database of 0 pages")
	}
	if hdr.Commit > maxCommit {
		return hdr, corrupt("header says a database of %d pages", hdr.Commit)
	}
	if hdr.Timestamp < 0 || hdr.Timestamp > maxTimestamp {
		return hdr, corrupt("header says timestamp %d", hdr.Timestamp)
	}
	return hdr, nil
}

// maxCommit is the maximum number of pages of a SQLite database, as documented.
const maxCommit = 1<<32 - 2

// maxTimestamp is the end of the year 9999, in milliseconds. RFC 3339 cannot
// express a later time.
const maxTimestamp = 253402300799999

// TailSize returns the number of bytes at the end of a file that ParseTail
// needs. fileSize is the size of the file. tail contains its last bytes, at
// least the size of the page index and the trailer.
func TailSize(tail []byte, fileSize int64) (int64, error) {
	if fileSize < MinFileSize || fileSize > MaxFileSize {
		return 0, corrupt("file has %d bytes", fileSize)
	}
	if len(tail) < indexFooterSize {
		return 0, corrupt("tail has %d bytes", len(tail))
	}
	n := binary.BigEndian.Uint64(tail[len(tail)-indexFooterSize:])
	if most := uint64(fileSize - ltx.HeaderSize - ltx.PageHeaderSize - indexFooterSize); n < 1 || n > most {
		return 0, corrupt("page index says it has %d bytes in a file of %d", n, fileSize)
	}
	return int64(n) + ltx.PageHeaderSize + indexFooterSize, nil
}

// Entry is the location of one page in a file.
type Entry struct {
	Pgno   uint32
	Size   uint32 // size of the frame, in bytes
	Offset int64  // offset of the frame, in bytes from the start of the file
}

// Index is a validated page index of a file. It refers to the bytes it was
// parsed from. The zero value is an empty index.
type Index struct {
	raw []byte
	n   int
}

// Len returns the number of pages.
func (x Index) Len() int { return x.n }

// Clone returns a copy that does not refer to the bytes that the index was
// parsed from.
func (x Index) Clone() Index { return Index{raw: bytes.Clone(x.raw), n: x.n} }

// Each calls fn for every page in ascending order until fn returns false.
// It does not allocate.
func (x Index) Each(fn func(Entry) bool) {
	b := x.raw
	for range x.n {
		pgno, n := binary.Uvarint(b)
		b = b[n:]
		offset, n := binary.Uvarint(b)
		b = b[n:]
		size, n := binary.Uvarint(b)
		b = b[n:]
		if !fn(Entry{Pgno: uint32(pgno), Size: uint32(size), Offset: int64(offset)}) {
			return
		}
	}
}

// ParseTail decodes the page index and the trailer from tail, the last bytes of
// a file of fileSize bytes. tail must have at least the size that TailSize
// returns. hdr is the header of the file as ParseHeader returned it. The index
// refers to tail.
//
// The frames must be adjacent from the header to the end of the page block, so
// an index cannot omit or move a page. A file that starts at transaction 1 must
// contain every page of the database.
func ParseTail(tail []byte, hdr ltx.Header, fileSize int64) (Index, ltx.Trailer, error) {
	var trailer ltx.Trailer
	need, err := TailSize(tail, fileSize)
	if err != nil {
		return Index{}, trailer, err
	}
	if int64(len(tail)) < need {
		return Index{}, trailer, corrupt("tail has %d of %d bytes", len(tail), need)
	}
	if err := trailer.UnmarshalBinary(tail[len(tail)-ltx.TrailerSize:]); err != nil {
		return Index{}, trailer, corrupt("trailer: %v", err)
	}
	if err := trailer.Validate(hdr); err != nil {
		return Index{}, trailer, corrupt("trailer: %v", err)
	}
	b := tail[int64(len(tail))-need : len(tail)-indexFooterSize]
	for _, c := range b[:ltx.PageHeaderSize] {
		if c != 0 {
			return Index{}, trailer, corrupt("page index does not follow the end of the frames")
		}
	}
	framesEnd := fileSize - need
	index, err := parseIndex(b[ltx.PageHeaderSize:], hdr, framesEnd)
	return index, trailer, err
}

func parseIndex(raw []byte, hdr ltx.Header, framesEnd int64) (Index, error) {
	lockPgno := uint64(hdr.LockPgno())
	maxSize := uint64(MaxFrameSize(hdr.PageSize))
	next := uint64(ltx.HeaderSize)
	var prev uint64
	n := 0
	for b := raw; ; n++ {
		pgno, c := binary.Uvarint(b)
		if c <= 0 {
			return Index{}, corrupt("page index ends early")
		}
		b = b[c:]
		if pgno == 0 {
			if len(b) != 0 {
				return Index{}, corrupt("page index has %d bytes after its end", len(b))
			}
			break
		}
		if pgno <= prev {
			return Index{}, corrupt("page index has page %d after page %d", pgno, prev)
		}
		if pgno > uint64(hdr.Commit) {
			return Index{}, corrupt("page index has page %d in a database of %d pages", pgno, hdr.Commit)
		}
		if pgno == lockPgno {
			return Index{}, corrupt("page index has the lock page %d", pgno)
		}
		offset, c := binary.Uvarint(b)
		if c <= 0 {
			return Index{}, corrupt("page index ends early")
		}
		b = b[c:]
		size, c := binary.Uvarint(b)
		if c <= 0 {
			return Index{}, corrupt("page index ends early")
		}
		b = b[c:]
		if offset != next {
			return Index{}, corrupt("page index has page %d at offset %d, not %d", pgno, offset, next)
		}
		if size <= ltx.PageHeaderSize || size > maxSize {
			return Index{}, corrupt("page index gives page %d a frame of %d bytes", pgno, size)
		}
		next += size
		if next > uint64(framesEnd) {
			return Index{}, corrupt("page index has page %d end at %d, frames at %d", pgno, next, framesEnd)
		}
		prev = pgno
	}
	if next != uint64(framesEnd) {
		return Index{}, corrupt("page index ends at offset %d, frames at %d", next, framesEnd)
	}
	if hdr.IsSnapshot() {
		want := uint64(hdr.Commit)
		if want >= lockPgno {
			want--
		}
		if uint64(n) != want {
			return Index{}, corrupt("page index has %d of %d pages", n, want)
		}
	}
	return Index{raw: raw, n: n}, nil
}

// File is a whole LTX file in memory.
type File struct {
	Header  ltx.Header
	Trailer ltx.Trailer
	Index   Index

	b []byte
}

// ParseFile validates the bytes of a whole file, except for its checksum.
func ParseFile(b []byte, minTXID, maxTXID ltx.TXID) (*File, error) {
	if len(b) < MinFileSize {
		return nil, corrupt("file has %d bytes", len(b))
	}
	hdr, err := ParseHeader(b, minTXID, maxTXID)
	if err != nil {
		return nil, err
	}
	index, trailer, err := ParseTail(b, hdr, int64(len(b)))
	if err != nil {
		return nil, err
	}
	return &File{Header: hdr, Trailer: trailer, Index: index, b: b}, nil
}

// Verify decodes every page and checks the checksum of the file. It calls fn
// with each page. The buffer is valid only during the call, and the pages must
// not be used if Verify returns an error.
func (f *File) Verify(fn func(pgno uint32, page []byte)) error {
	page := make([]byte, f.Header.PageSize)
	var sum Sum
	sum.Add(f.b[:ltx.HeaderSize])
	end := int64(ltx.HeaderSize)
	var err error
	f.Index.Each(func(e Entry) bool {
		end = e.Offset + int64(e.Size)
		frame := f.b[e.Offset:end]
		if err = DecodeFrame(page, frame, e.Pgno); err != nil {
			return false
		}
		sum.AddFrame(frame, page)
		if fn != nil {
			fn(e.Pgno, page)
		}
		return true
	})
	if err != nil {
		return err
	}
	sum.Add(f.b[end : len(f.b)-ltx.ChecksumSize])
	return sum.Check(f.Trailer)
}

// maxEntrySize is the maximum size of an index entry: the varints of a page
// number, an offset below MaxFileSize and a frame size.
const maxEntrySize = 5 + 6 + 3

// TailSizeOf is TailSize for a file with a header, which bounds the page index.
func TailSizeOf(hdr ltx.Header, tail []byte, fileSize int64) (int64, error) {
	need, err := TailSize(tail, fileSize)
	if most := int64(hdr.Commit)*maxEntrySize + 1 + ltx.PageHeaderSize + indexFooterSize; err == nil && need > most {
		return 0, corrupt("page index has %d bytes, at most %d for %d pages", need, most, hdr.Commit)
	}
	return need, err
}

// tailStep is how much of a tail ReadRest reads at a time, in bytes.
const tailStep = 4 << 20

// ReadRest returns the last need bytes of a file; tail holds the end of them. It
// grows the buffer as the bytes arrive, because need comes from the file and is not
// verified yet.
func ReadRest(tail []byte, need, fileSize int64, read func(buf []byte, offset int64) error) ([]byte, error) {
	var b []byte
	for more := need - int64(len(tail)); int64(len(b)) < more; {
		n := int(min(more-int64(len(b)), tailStep))
		b = slices.Grow(b, n)
		if err := read(b[len(b):len(b)+n], fileSize-need+int64(len(b))); err != nil {
			return nil, err
		}
		b = b[:len(b)+n]
	}
	return append(b, tail...), nil
}
