package ltxio

import (
	"encoding/binary"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"
)

func hasSize(frame []byte) bool {
	return binary.BigEndian.Uint16(frame[4:])&ltx.PageHeaderFlagSize != 0
}

// FrameHeaderSize returns the number of bytes before the page in a frame.
// Frames that contain their size have a longer header.
func FrameHeaderSize(sized bool) int64 {
	if sized {
		return ltx.PageHeaderSize + 4
	}
	return ltx.PageHeaderSize
}

// IsSized reports whether the frame at the start of b contains its size.
// Writers add the size to all frames of a file or to none.
func IsSized(b []byte) bool { return len(b) >= ltx.PageHeaderSize && hasSize(b) }

// FrameSize returns the page number and the size of the frame at the start of
// b. It is for frames whose index entry is not known.
func FrameSize(b []byte) (pgno uint32, size int, err error) {
	if len(b) <= ltx.PageHeaderSize {
		return 0, 0, corrupt("frame is cut off")
	}
	pgno = binary.BigEndian.Uint32(b)
	data := b[ltx.PageHeaderSize:]
	n := uint64(0)
	if hasSize(b) {
		if len(data) >= 4 {
			n = 4 + uint64(binary.BigEndian.Uint32(data))
		}
	} else {
		n = lz4FrameSize(data)
	}
	if n == 0 || n > uint64(len(data)) {
		return 0, 0, corrupt("frame of page %d is cut off", pgno)
	}
	return pgno, ltx.PageHeaderSize + int(n), nil
}

// lz4FrameSize returns the size of the LZ4 frame at the start of b, or 0 if the
// frame extends beyond b.
func lz4FrameSize(b []byte) uint64 {
	if len(b) < lz4DescriptorOffset+3 || binary.LittleEndian.Uint32(b) != lz4Magic {
		return 0
	}
	flags := b[lz4DescriptorOffset]
	n := uint64(lz4DescriptorOffset + 3) // flags, block size, header checksum
	if flags&lz4FlagContentSize != 0 {
		n += 8
	}
	for {
		if n+4 > uint64(len(b)) {
			return 0
		}
		size := binary.LittleEndian.Uint32(b[n:])
		n += 4
		if size == 0 {
			break
		}
		n += uint64(size &^ lz4BlockStoredFlag)
		if flags&lz4FlagBlockSum != 0 {
			n += 4
		}
	}
	if flags&lz4FlagContentSum != 0 {
		n += 4
	}
	return n
}

// DecodeFrame decompresses the frame of page pgno into dst, which must have the
// size of a page. frame must have the size that its index entry gives. After an
// error the content of dst is undefined. DecodeFrame does not allocate.
func DecodeFrame(dst, frame []byte, pgno uint32) error {
	if len(frame) <= ltx.PageHeaderSize {
		return corrupt("frame of page %d has %d bytes", pgno, len(frame))
	}
	var hdr ltx.PageHeader
	_ = hdr.UnmarshalBinary(frame) // fails only if the input is too short
	if hdr.Pgno != pgno {
		return corrupt("frame of page %d says page %d", pgno, hdr.Pgno)
	}
	if err := hdr.Validate(); err != nil {
		return corrupt("frame of page %d: %v", pgno, err)
	}
	data := frame[ltx.PageHeaderSize:]
	if !hasSize(frame) {
		return decodeLZ4Frame(dst, data, pgno)
	}
	if len(data) < 4 || uint64(binary.BigEndian.Uint32(data)) != uint64(len(data)-4) {
		return corrupt("frame of page %d does not have the size its index entry says", pgno)
	}
	return decodeBlock(dst, data[4:], pgno)
}

func decodeBlock(dst, block []byte, pgno uint32) error {
	n, err := lz4.UncompressBlock(block, dst)
	if err != nil {
		return corrupt("frame of page %d: %v", pgno, err)
	}
	if n != len(dst) {
		return corrupt("frame of page %d decompresses to %d of %d bytes", pgno, n, len(dst))
	}
	return nil
}

// Fields of an LZ4 frame, from the LZ4 frame format description v1.6.4.
const (
	lz4Magic            = 0x184D2204
	lz4FlagVersionMask  = 0b11 << 6
	lz4FlagVersion      = 0b01 << 6
	lz4FlagBlockSum     = 1 << 4
	lz4FlagContentSize  = 1 << 3
	lz4FlagContentSum   = 1 << 2
	lz4FlagDictionary   = 1 << 0
	lz4BlockStoredFlag  = 1 << 31
	lz4DescriptorOffset = 4
)

// decodeLZ4Frame decodes a page that is stored as one LZ4 frame, as Litestream
// up to v0.5.15 stores it. lz4.Reader would work as well, but with a buffer of
// 4 MiB for each page.
func decodeLZ4Frame(dst, b []byte, pgno uint32) error {
	bad := func(what string) error { return corrupt("frame of page %d: lz4 frame: %s", pgno, what) }
	// next removes the first n bytes from b and returns them, or returns nil if
	// b is shorter.
	next := func(n int) []byte {
		if n < 0 || n > len(b) {
			b = nil
			return nil
		}
		p := b[:n:n]
		b = b[n:]
		return p
	}
	head := next(lz4DescriptorOffset + 2)
	if head == nil || binary.LittleEndian.Uint32(head) != lz4Magic {
		return bad("no magic number")
	}
	flags := head[lz4DescriptorOffset]
	if flags&lz4FlagVersionMask != lz4FlagVersion || flags&lz4FlagDictionary != 0 {
		return bad("unsupported flags")
	}
	if flags&lz4FlagContentSize != 0 {
		size := next(8)
		if size == nil || binary.LittleEndian.Uint64(size) != uint64(len(dst)) {
			return bad("content size is not the page size")
		}
	}
	if next(1) == nil { // the header checksum is skipped: every field that it covers was checked
		return bad("ends early")
	}
	n := 0
	for {
		field := next(4)
		if field == nil {
			return bad("ends early")
		}
		size := binary.LittleEndian.Uint32(field)
		if size == 0 {
			break
		}
		stored := size&lz4BlockStoredFlag != 0
		block := next(int(size &^ lz4BlockStoredFlag))
		if block == nil {
			return bad("block goes beyond the frame")
		}
		if stored {
			if len(block) > len(dst)-n {
				return bad("more data than a page")
			}
			n += copy(dst[n:], block)
		} else {
			m, err := lz4.UncompressBlockWithDict(block, dst[n:], dst[:n])
			if err != nil {
				return bad(err.Error())
			}
			n += m
		}
		if flags&lz4FlagBlockSum != 0 {
			sum := next(4)
			if sum == nil || binary.LittleEndian.Uint32(sum) != xxh32(block) {
				return bad("block checksum mismatch")
			}
		}
	}
	if flags&lz4FlagContentSum != 0 {
		sum := next(4)
		if sum == nil || binary.LittleEndian.Uint32(sum) != xxh32(dst[:n]) {
			return bad("content checksum mismatch")
		}
	}
	if n != len(dst) {
		return corrupt("frame of page %d decompresses to %d of %d bytes", pgno, n, len(dst))
	}
	if len(b) != 0 {
		return bad("bytes after its end")
	}
	return nil
}
