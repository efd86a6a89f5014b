package ltxio

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"
)

// FrameEncoder compresses pages. It is not safe for concurrent use. The zero value is
// ready for use.
type FrameEncoder struct{ lz4 lz4.Compressor }

// AppendFrame appends the frame of page pgno to dst. The frame contains its size, as
// github.com/superfly/ltx writes it.
func (e *FrameEncoder) AppendFrame(dst []byte, pgno uint32, page []byte) ([]byte, error) {
	const header = ltx.PageHeaderSize + 4
	at := len(dst)
	dst = slices.Grow(dst, header+lz4.CompressBlockBound(len(page)))
	frame := dst[at : at+header+lz4.CompressBlockBound(len(page))]
	noteUse(e)
	noteRead(page)
	n, err := e.lz4.CompressBlock(page, frame[header:])
	if err != nil {
		return dst, fmt.Errorf("compress page %d: %w", pgno, err)
	}
	binary.BigEndian.PutUint32(frame, pgno)
	binary.BigEndian.PutUint16(frame[4:], ltx.PageHeaderFlagSize)
	binary.BigEndian.PutUint32(frame[ltx.PageHeaderSize:], uint32(n))
	return dst[:at+header+n], nil
}

// IndexEncoder makes the part of a file that follows its frames. The zero value is
// the one of a file whose frames begin behind the header.
type IndexEncoder struct {
	records []byte
	frames  int64 // bytes
}

// Add adds the frame of a page, which lies behind those that were added before.
func (x *IndexEncoder) Add(pgno uint32, size int) {
	x.records = binary.AppendUvarint(x.records, uint64(pgno))
	x.records = binary.AppendUvarint(x.records, uint64(ltx.HeaderSize+x.frames))
	x.records = binary.AppendUvarint(x.records, uint64(size))
	x.frames += int64(size)
}

// Tail returns the end of a file without a checksum of the database, given the sum of
// its header and frames. The encoder is of no use afterwards.
func (x *IndexEncoder) Tail(header ltx.Header, sum Sum) ([]byte, error) {
	index := append(x.records, 0)
	var end [ltx.PageHeaderSize]byte
	sum.Add(end[:])
	tail := append(end[:], index...)
	tail = binary.BigEndian.AppendUint64(tail, uint64(len(index)))
	sum.Add(tail[len(end):])

	var trailer ltx.Trailer
	b, err := trailer.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("marshal trailer: %w", err)
	}
	sum.Add(b[:ltx.TrailerChecksumOffset])
	trailer.FileChecksum = ltx.ChecksumFlag | ltx.Checksum(sum.crc)
	if err := trailer.Validate(header); err != nil {
		return nil, fmt.Errorf("validate trailer: %w", err)
	}
	if b, err = trailer.MarshalBinary(); err != nil {
		return nil, fmt.Errorf("marshal trailer: %w", err)
	}
	return append(tail, b...), nil
}
