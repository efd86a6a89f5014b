package ltxio

import (
	"encoding/binary"
	"math/bits"
)

// A varint has seven bits of its number in each byte, the lowest first. The highest
// bit of each byte but the last is set. These are those bits of a word.
const (
	payload   = 0x7f7f7f7f7f7f7f7f
	continued = 0x8080808080808080
)

// followRoom is how many bytes a window must still have for follow to read an entry:
// three words.
const followRoom = 3 * 8

// unmarked returns how many entries from that of a page on need no mark, are not the
// last one, and have page numbers of the same size as varints. It is 0 if the page is 0.
func (d *Dense) unmarked(pgno uint32) int {
	if pgno == 0 || (pgno-1)%MarkEvery == 0 || pgno-1 == d.LockPgno || pgno > d.Commit {
		return 0
	}
	end := min(uint64(pgno-1)/MarkEvery*MarkEvery+MarkEvery+1, uint64(d.Commit), 1<<(7*varintSize(uint64(pgno))))
	return int(end - uint64(pgno))
}

// follow decodes entries at the start of b that follow from each other and from the
// place of the first of them, most of them at most. It appends the sizes of their
// frames to sizes. It returns the place after them, and how many bytes they have. It
// ends before an entry that does not follow or has a size that no frame can have: what
// is wrong with that, decodeEntry tells.
//
// It is fast, because it decodes the sizes only. The page numbers and offsets that
// have to be there follow, and are kept as they are stored, spread over the bytes of a
// word: if all bits between the bytes of a sum are set, carries cross them.
func (d *Dense) follow(b []byte, from Anchor, sizes []uint32, most int) ([]uint32, Anchor, int) {
	var (
		before    = len(sizes)
		pgnoSize  = int(varintSize(uint64(from.Pgno)))
		pgnoMask  = uint64(1)<<(8*pgnoSize) - 1
		pgnoBits  = uint64(continued) & (pgnoMask >> 8)
		pgno      = spread(uint64(from.Pgno))
		offset    = spread(uint64(from.Offset))
		least, up = uint32(minFrame), uint32(d.maxFrame)
		rest      = b
		end       = from.Offset
	)
	for range most {
		if len(rest) < followRoom {
			break
		}
		if (binary.LittleEndian.Uint64(rest)^(pgno|pgnoBits))&pgnoMask != 0 {
			break
		}
		offsetSize := (bits.Len64(offset|1) + 7) / 8
		offsetMask := uint64(1)<<(8*offsetSize) - 1
		if (binary.LittleEndian.Uint64(rest[pgnoSize:])^(offset|continued&(offsetMask>>8)))&offsetMask != 0 {
			break
		}
		word := binary.LittleEndian.Uint64(rest[pgnoSize+offsetSize:])
		sizeSize := bits.TrailingZeros64(^word&continued)/8 + 1
		if sizeSize > 4 {
			break
		}
		word &= 1<<(8*sizeSize) - 1
		if sizeSize > 1 && word>>(8*(sizeSize-1)) == 0 {
			break // longer than it has to be
		}
		word &= payload
		size := uint32(word&0x7f | word>>1&(0x7f<<7) | word>>2&(0x7f<<14) | word>>3&(0x7f<<21))
		if size < least || size > up {
			break
		}
		sizes = append(sizes, size)
		end += int64(size)
		offset = ((offset | continued) + word) & payload
		pgno = ((pgno | continued) + 1) & payload
		rest = rest[pgnoSize+offsetSize+sizeSize:]
	}
	n := len(sizes) - before
	if n == 0 {
		return sizes, from, 0
	}
	next := Anchor{d.After(from.Pgno + uint32(n) - 1), from.At + int64(len(b)-len(rest)), end}
	// Each frame has minFrame bytes at least: if those after the last of these have
	// room, those after each of them have.
	if d.checkRoom(next) != nil {
		return sizes[:before], from, 0
	}
	return sizes, next, len(b) - len(rest)
}

// spread returns a number below 1<<56 as the bytes of a varint in a little-endian word,
// without the bits that say that it continues.
func spread(v uint64) (x uint64) {
	for i := 0; i < 56; i += 7 {
		x |= v >> i & 0x7f << (i / 7 * 8)
	}
	return x
}
