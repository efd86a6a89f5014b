package ltxio

import "github.com/superfly/ltx"

// CheckDescriptor checks the header checksum of the LZ4 frame in a frame of the
// older format. DecodeFrame does not need it, because it checks every field that
// it uses, but other decoders refuse a page without it. frame is one that
// DecodeFrame accepts.
func CheckDescriptor(frame []byte, pgno uint32) error {
	if hasSize(frame) {
		return nil // an LZ4 block has no descriptor
	}
	b := frame[ltx.PageHeaderSize+lz4DescriptorOffset:]
	n := 2 // flags, block size
	if b[0]&lz4FlagContentSize != 0 {
		n += 8
	}
	if b[n] != byte(xxh32(b[:n])>>8) {
		return corrupt("frame of page %d: lz4 frame: header checksum mismatch", pgno)
	}
	return nil
}
