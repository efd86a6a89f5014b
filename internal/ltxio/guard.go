package ltxio

import (
	"encoding/binary"
	"io"

	"github.com/superfly/ltx"
)

// NewGuard returns a reader of a whole file for ltx.Decoder, which takes the size that
// a frame claims on trust and allocates that much, up to 4 GiB. The guard fails with
// ErrCorrupt before it passes on a size that is larger than a page needs. It passes on
// everything else, which the decoder checks.
func NewGuard(r io.Reader) io.Reader {
	g := &guard{r: r}
	g.expect(guardHeader, 0)
	return g
}

// guardState is the field of a file that a guard waits for.
type guardState int

const (
	guardHeader     guardState = iota // header of the file
	guardPage                         // page header of a frame
	guardSize                         // size of the LZ4 block in a frame
	guardDescriptor                   // magic number and flags of an LZ4 frame
	guardBlock                        // size of the block in an LZ4 frame
	guardEnd                          // end mark of an LZ4 frame
	guardRest                         // no field: the guard passes on what follows the frames
)

// guardFields are the sizes of the fields.
var guardFields = [...]int{
	guardHeader:     ltx.HeaderSize,
	guardPage:       ltx.PageHeaderSize,
	guardSize:       4,
	guardDescriptor: lz4DescriptorOffset + 2,
	guardBlock:      4,
	guardEnd:        4,
}

// guard follows the frames of a file as they are read.
type guard struct {
	r     io.Reader
	state guardState
	skip  int64                // bytes before the field
	field [ltx.HeaderSize]byte // what has been read of the field
	n     int                  // number of bytes in field
	most  uint32               // most bytes of a compressed page
	pgno  uint32               // page of the frame
	flags byte                 // flags of the LZ4 frame
	err   error                // error of all further reads
}

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	if g.err == nil && g.state == guardPage && g.skip == 0 && g.n == 0 && len(p) < ltx.PageHeaderSize {
		// The decoder reads a page header at once. It looks for another LZ4 frame
		// here, and would go on at another place than the guard.
		g.err = corrupt("frame of page %d holds less than a page", g.pgno)
	}
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.r.Read(p)
	if g.err = g.follow(p[:n]); g.err != nil {
		return 0, g.err
	}
	return n, err
}

// expect sets the next field and the number of bytes before it.
func (g *guard) expect(state guardState, skip int64) {
	g.state, g.skip, g.n = state, skip, 0
}

// follow follows the bytes that were read.
func (g *guard) follow(b []byte) error {
	for len(b) > 0 && g.state != guardRest {
		skipped := min(g.skip, int64(len(b)))
		g.skip -= skipped
		field := g.field[:guardFields[g.state]]
		copied := copy(field[g.n:], b[skipped:])
		g.n += copied
		b = b[skipped+int64(copied):]
		if g.n < len(field) {
			continue
		}
		if err := g.take(field); err != nil {
			return err
		}
	}
	return nil
}

// take decodes the field that is complete, and sets the next one.
func (g *guard) take(field []byte) error {
	switch g.state {
	case guardHeader:
		var hdr ltx.Header
		if hdr.UnmarshalBinary(field) != nil || hdr.Validate() != nil {
			g.expect(guardRest, 0) // the decoder stops here, and says why
			return nil
		}
		g.most = uint32(MaxFrameSize(hdr.PageSize) - FrameHeaderSize(true))
		g.expect(guardPage, 0)
	case guardPage:
		g.pgno = binary.BigEndian.Uint32(field)
		switch flags := binary.BigEndian.Uint16(field[4:]); {
		case g.pgno == 0 && flags == 0:
			g.expect(guardRest, 0)
		case flags == ltx.PageHeaderFlagSize:
			g.expect(guardSize, 0)
		case flags == 0:
			g.expect(guardDescriptor, 0)
		default:
			return corrupt("frame of page %d has flags %#x", g.pgno, flags)
		}
	case guardSize:
		size := binary.BigEndian.Uint32(field)
		if size > g.most {
			return g.tooLarge(size)
		}
		g.expect(guardPage, int64(size))
	default:
		return g.takeLZ4(field)
	}
	return nil
}

// takeLZ4 is take for the fields of an LZ4 frame, as Litestream up to v0.5.15 writes
// them: one block, as a page is never larger than a block, and a checksum of the
// content, without which the decoder would read into the next frame.
func (g *guard) takeLZ4(field []byte) error {
	switch g.state {
	case guardDescriptor:
		g.flags = field[lz4DescriptorOffset]
		if binary.LittleEndian.Uint32(field) != lz4Magic || g.flags&lz4FlagVersionMask != lz4FlagVersion ||
			g.flags&lz4FlagDictionary != 0 || g.flags&lz4FlagContentSum == 0 {
			return corrupt("frame of page %d is no LZ4 frame with a checksum of its content", g.pgno)
		}
		skip := int64(1) // checksum of the descriptor
		if g.flags&lz4FlagContentSize != 0 {
			skip += 8
		}
		g.expect(guardBlock, skip)
	case guardBlock:
		size := binary.LittleEndian.Uint32(field) &^ lz4BlockStoredFlag
		if size > g.most {
			return g.tooLarge(size)
		}
		skip := int64(size)
		if g.flags&lz4FlagBlockSum != 0 {
			skip += 4
		}
		g.expect(guardEnd, skip)
	case guardEnd:
		if binary.LittleEndian.Uint32(field) != 0 {
			return corrupt("frame of page %d has more than one block", g.pgno)
		}
		g.expect(guardPage, 4) // checksum of the content
	}
	return nil
}

func (g *guard) tooLarge(size uint32) error {
	return corrupt("frame of page %d says it has %d bytes, a page has %d at most", g.pgno, size, g.most)
}
