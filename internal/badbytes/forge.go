package badbytes

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"slices"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// file is an LTX file that lies where the fields say.
type file struct {
	header ltx.Header
	sized  bool // frames are LZ4 blocks with their size
	frames []frame

	entries   func(entries []entry) []entry // changes the page index
	indexTail []byte                        // follows the page index
	indexSize *uint64                       // what the file says of the size of its index
	trailer   ltx.Checksum                  // of the database
	rawHeader func(b []byte)                // changes the header
}

// frame is a page with its number.
type frame struct {
	pgno uint32
	page []byte
	data []byte // what stands for the compressed page; nil: the page, compressed

	claims *uint32 // what a sized frame says that data has; nil: its size
}

// entry is one of a page index.
type entry struct{ pgno, offset, size uint64 }

// encode returns the bytes of a file with the checksum of what is in it.
func (f *file) encode() []byte {
	sum := crc64.New(crc64.MakeTable(crc64.ISO))
	out, err := f.header.MarshalBinary()
	if err != nil {
		panic(fmt.Errorf("encode header: %w", err))
	}
	if f.rawHeader != nil {
		f.rawHeader(out)
	}
	sum.Write(out)
	var entries []entry
	for _, fr := range f.frames {
		at := len(out)
		data := fr.data
		if data == nil {
			data = f.compress(fr.page)
		}
		out = binary.BigEndian.AppendUint32(out, fr.pgno)
		if f.sized {
			out = binary.BigEndian.AppendUint16(out, ltx.PageHeaderFlagSize)
			size := uint32(len(data))
			if fr.claims != nil {
				size = *fr.claims
			}
			out = binary.BigEndian.AppendUint32(out, size)
		} else {
			out = binary.BigEndian.AppendUint16(out, 0)
		}
		sum.Write(out[at:])
		sum.Write(fr.page)
		out = append(out, data...)
		entries = append(entries, entry{uint64(fr.pgno), uint64(at), uint64(len(out) - at)})
	}
	if f.entries != nil {
		entries = f.entries(entries)
	}
	from := len(out)
	out = append(out, make([]byte, ltx.PageHeaderSize)...)
	begin := len(out)
	for _, e := range entries {
		out = binary.AppendUvarint(out, e.pgno)
		out = binary.AppendUvarint(out, e.offset)
		out = binary.AppendUvarint(out, e.size)
	}
	out = append(append(out, 0), f.indexTail...)
	size := uint64(len(out) - begin)
	if f.indexSize != nil {
		size = *f.indexSize
	}
	out = binary.BigEndian.AppendUint64(out, size)
	out = binary.BigEndian.AppendUint64(out, uint64(f.trailer))
	sum.Write(out[from:])
	return binary.BigEndian.AppendUint64(out, uint64(ltx.ChecksumFlag)|sum.Sum64())
}

// compress returns a page as it is in a frame.
func (f *file) compress(page []byte) []byte {
	if f.sized {
		b := make([]byte, lz4.CompressBlockBound(len(page)))
		n, err := new(lz4.Compressor).CompressBlock(page, b)
		if err != nil {
			panic(fmt.Errorf("compress a page: %w", err))
		}
		return b[:n]
	}
	var b bytes.Buffer
	w := lz4.NewWriter(&b)
	if err := errors.Join(w.Apply(lz4.BlockSizeOption(lz4.Block64Kb)), write(w, page)); err != nil {
		panic(fmt.Errorf("compress a page: %w", err))
	}
	return b.Bytes()
}

func write(w io.WriteCloser, b []byte) error {
	_, err := w.Write(b)
	return errors.Join(err, w.Close())
}

// forge changes an intact file, and computes its checksums anew.
func forge(rng *rand.Rand, r Replica, how func(f *file) string) string {
	for range 4 {
		key, ok := pick(rng, r)
		if !ok {
			return ""
		}
		f := parse(key, r[key])
		if f == nil {
			continue
		}
		note := how(f)
		if note == "" {
			continue
		}
		r[key] = f.encode()
		return fmt.Sprintf("%s: %s", key, note)
	}
	return ""
}

// forgeHeader changes a field of the header, or any of its bytes.
func forgeHeader(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		switch rng.IntN(5) {
		case 0:
			f.header.Timestamp = int64(number(rng))
			return fmt.Sprintf("timestamp %d", f.header.Timestamp)
		case 1:
			f.header.Flags = uint32(number(rng))
			return fmt.Sprintf("flags %#x", f.header.Flags)
		case 2:
			f.header.PreApplyChecksum, f.trailer = ltx.Checksum(number(rng)), ltx.Checksum(number(rng))
			return "checksums of the database"
		case 3:
			f.header.WALOffset, f.header.WALSize = int64(number(rng)), int64(number(rng))
			return "place in the WAL"
		}
		at, value := rng.IntN(ltx.HeaderSize), byte(rng.Uint32())
		f.rawHeader = func(b []byte) { b[at] = value }
		return fmt.Sprintf("byte %d of the header is %d", at, value)
	})
}

// forgeCommit makes the database smaller or larger than its pages.
func forgeCommit(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		switch rng.IntN(3) {
		case 0:
			f.header.Commit = uint32(rng.IntN(int(min(f.header.Commit, 1000)) + 3))
		case 1:
			f.header.Commit = ltx.LockPgno(f.header.PageSize) + uint32(rng.IntN(3)) - 1
		default:
			f.header.Commit = uint32(number(rng))
		}
		if rng.IntN(2) == 0 { // as if it was true
			f.frames = slices.DeleteFunc(f.frames, func(fr frame) bool { return fr.pgno > f.header.Commit })
		}
		return fmt.Sprintf("%d pages", f.header.Commit)
	})
}

// forgePageSize gives a file another page size, with pages of that size or not.
func forgePageSize(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		size := uint32(512) << rng.UintN(8)
		if rng.IntN(4) == 0 {
			size = uint32(number(rng))
		}
		f.header.PageSize = size
		note := fmt.Sprintf("page size %d", size)
		if rng.IntN(2) == 0 && size >= 512 && size <= 65536 {
			for i, fr := range f.frames {
				page := make([]byte, size)
				copy(page, fr.page)
				if fr.pgno == 1 && rng.IntN(2) == 0 {
					binary.BigEndian.PutUint16(page[16:], uint16(size))
				}
				f.frames[i].page = page
			}
			note += ", and so have its pages"
		}
		return note
	})
}

// forgeTXIDs gives a file another name, and its header the same.
func forgeTXIDs(rng *rand.Rand, r Replica) string {
	key, ok := pick(rng, r)
	if !ok {
		return ""
	}
	f, other := parse(key, r[key]), otherKey(rng, key)
	if f == nil {
		return ""
	}
	f.header.MinTXID, f.header.MaxTXID = other.MinTXID, other.MaxTXID
	if rng.IntN(3) == 0 {
		other.Level = rng.IntN(view.Levels)
	}
	r[other] = f.encode()
	if rng.IntN(2) == 0 && other != key {
		delete(r, key)
	}
	return fmt.Sprintf("%s is now %s", key, other)
}

// forgeIndex makes the page index lie.
func forgeIndex(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		if len(f.frames) == 0 {
			return ""
		}
		i, j, n := rng.IntN(len(f.frames)), rng.IntN(len(f.frames)), number(rng)
		what := rng.IntN(8)
		f.entries = func(e []entry) []entry {
			switch what {
			case 0:
				e[i].offset = n
			case 1:
				e[i].size = n
			case 2:
				e[i].pgno = n
			case 3:
				e[i], e[j] = e[j], e[i]
			case 4:
				return append(e, e[j])
			case 5:
				return slices.Insert(e, i, e[j])
			case 6:
				return slices.Delete(e, i, i+1)
			case 7: // two frames as one
				if i+1 < len(e) {
					e[i].size += e[i+1].size
					return slices.Delete(e, i+1, i+2)
				}
			}
			return e
		}
		return fmt.Sprintf("page index: lie %d with entries %d, %d and number %d", what, i, j, n)
	})
}

// forgeFooter makes the size of the page index lie, or appends to it.
func forgeFooter(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		if rng.IntN(2) == 0 {
			n := number(rng)
			f.indexSize = &n
			return fmt.Sprintf("page index of %d bytes", n)
		}
		f.indexTail = bytes.Repeat([]byte{byte(rng.IntN(3) * 127)}, 1+rng.IntN(1<<rng.UintN(17)))
		return fmt.Sprintf("page index followed by %d bytes", len(f.indexTail))
	})
}

// forgeFrames gives frames other numbers, twice the same, another order, or the lock
// page.
func forgeFrames(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		if len(f.frames) == 0 {
			return ""
		}
		i, j := rng.IntN(len(f.frames)), rng.IntN(len(f.frames))
		switch rng.IntN(6) {
		case 0:
			f.frames[i].pgno = uint32(number(rng))
			return fmt.Sprintf("frame %d is page %d", i, f.frames[i].pgno)
		case 1:
			f.frames = slices.Insert(f.frames, i, f.frames[j])
			return fmt.Sprintf("frame %d comes again at %d", j, i)
		case 2:
			f.frames[i], f.frames[j] = f.frames[j], f.frames[i]
			return fmt.Sprintf("frames %d and %d change places", i, j)
		case 3:
			f.frames = slices.Delete(f.frames, i, min(i+1+rng.IntN(4), len(f.frames)))
			return fmt.Sprintf("frame %d is missing", i)
		case 4:
			f.frames = nil
			return "no frames"
		}
		// The index and the frame disagree.
		pgno, was := uint32(number(rng)), f.frames[i].pgno
		f.frames[i].pgno = pgno
		f.entries = func(e []entry) []entry { e[i].pgno = uint64(was); return e }
		return fmt.Sprintf("frame %d says page %d, the index page %d", i, pgno, was)
	})
}

// forgeSparse adds few pages to a database that is said to be large.
func forgeSparse(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		if len(f.frames) == 0 || f.header.MinTXID == 1 {
			return ""
		}
		f.header.Commit = uint32(1) << (10 + rng.UintN(22))
		last := f.frames[len(f.frames)-1].page
		n := 1 + rng.IntN(40)
		step := (f.header.Commit - 1 - f.frames[len(f.frames)-1].pgno) / uint32(n+1)
		if step == 0 || step > f.header.Commit {
			return ""
		}
		pgno := f.frames[len(f.frames)-1].pgno
		for range n {
			pgno += step
			if pgno != ltx.LockPgno(f.header.PageSize) {
				f.frames = append(f.frames, frame{pgno: pgno, page: last})
			}
		}
		return fmt.Sprintf("%d pages, of which %d are far apart", f.header.Commit, n)
	})
}

// forgeBomb puts a frame that decompresses to much more than a page, or to less, or that
// claims another size than it has, in the place of a page.
func forgeBomb(rng *rand.Rand, r Replica) string {
	return forge(rng, r, func(f *file) string {
		if len(f.frames) == 0 {
			return ""
		}
		i := rng.IntN(len(f.frames))
		size := int(f.header.PageSize)
		n := []int{size - 1, size + 1, 2 * size, 64 << 10, 4 << 20, 0}[rng.IntN(6)]
		data := f.compress(make([]byte, n))
		switch rng.IntN(5) {
		case 0: // a match that reaches back before the begin
			data = []byte{0x1f, 'x', 0xff, 0xff, 0xff, 0xff, 0xff, 0x10}
		case 1: // a length that never ends
			data = bytes.Repeat([]byte{0xff}, 40)
		case 2:
			if !f.sized && len(data) > 11 { // a block that says more than there is
				binary.LittleEndian.PutUint32(data[7:], uint32(number(rng)))
			}
		case 3:
			if f.sized {
				size := uint32(1) << (9 + rng.UintN(23))
				f.frames[i].claims = &size
				return fmt.Sprintf("frame %d claims %d bytes", i, size)
			}
		}
		f.frames[i].data = data
		return fmt.Sprintf("frame %d decompresses to %d bytes", i, n)
	})
}
