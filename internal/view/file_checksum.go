package view

import (
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// SetChecksum notes the checksum of a file. Head is the beginning of the file
// with the first bytes of its first frame, and tail is all after its frames.
func (f *File) SetChecksum(checksum ltx.Checksum, head, tail []byte) {
	var before, after ltxio.Sum
	before.Add(head[:ltx.HeaderSize])
	after.Add(tail[:len(tail)-ltx.ChecksumSize])
	f.Checksum, f.Sized = checksum, ltxio.IsSized(head[ltx.HeaderSize:])
	f.framesCRC = ltxio.FramesCRC(checksum, before, f.framesSize(), after)
}

// framesSize returns the size that the frames would have with uncompressed
// pages, bytes.
func (f *File) framesSize() int64 {
	return int64(f.Frames) * (ltxio.FrameHeaderSize(f.Sized) + int64(f.PageSize))
}

// HasFrames reports whether a sum is that of all frames of the file.
func (f *File) HasFrames(sum ltxio.Sum) bool {
	return sum.CheckFrames(f.framesCRC, f.framesSize(), f.Size-f.FramesEnd-ltx.ChecksumSize)
}
