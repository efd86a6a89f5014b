package litestream

import (
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// setChecksum notes the checksum of a file. Head is the beginning of the file
// with the first bytes of its first frame, and tail is all after its frames.
func (f *ltxFile) setChecksum(checksum ltx.Checksum, head, tail []byte) {
	var before, after ltxio.Sum
	before.Add(head[:ltx.HeaderSize])
	after.Add(tail[:len(tail)-ltx.ChecksumSize])
	f.checksum, f.sized = checksum, ltxio.IsSized(head[ltx.HeaderSize:])
	f.framesCRC = ltxio.FramesCRC(checksum, before, f.framesSize(), after)
}

// framesSize returns the size that the frames would have with uncompressed
// pages, bytes.
func (f *ltxFile) framesSize() int64 {
	return int64(f.frames) * (ltxio.FrameHeaderSize(f.sized) + int64(f.pageSize))
}

// hasFrames reports whether a sum is that of all frames of the file.
func (f *ltxFile) hasFrames(sum ltxio.Sum) bool {
	return sum.CheckFrames(f.framesCRC, f.framesSize(), f.size-f.framesEnd-ltx.ChecksumSize)
}
