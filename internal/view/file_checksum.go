package view

import (
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// SetChecksum notes the checksum of a file. Head is the beginning of the file
// with the first bytes of its first frame, and tail is all after its frames.
func (f *File) SetChecksum(checksum ltx.Checksum, head, tail []byte) {
	f.SetDenseChecksum(checksum, head)
	var after ltxio.Sum
	after.Add(tail[:len(tail)-ltx.ChecksumSize])
	f.SetFrames(head, after)
}

// SetDenseChecksum is SetChecksum for a file whose page index was not read.
func (f *File) SetDenseChecksum(checksum ltx.Checksum, head []byte) {
	f.Checksum, f.Sized = checksum, ltxio.IsSized(head[ltx.HeaderSize:])
}

// SetFrames notes what the frames of a file sum up to. Head is the header, and
// after is the sum of all after the frames up to the checksum.
func (f *File) SetFrames(head []byte, after ltxio.Sum) {
	var before ltxio.Sum
	before.Add(head[:ltx.HeaderSize])
	crc := ltxio.FramesCRC(f.Checksum, before, f.framesSize(), after)
	f.frames.Store(&crc)
}

// KnowsFrames reports whether HasFrames can tell.
func (f *File) KnowsFrames() bool { return f.frames.Load() != nil }

// framesSize returns the size that the frames would have with uncompressed
// pages, bytes.
func (f *File) framesSize() int64 {
	return int64(f.Frames) * (ltxio.FrameHeaderSize(f.Sized) + int64(f.PageSize))
}

// HasFrames reports whether a sum is that of all frames of the file.
func (f *File) HasFrames(sum ltxio.Sum) bool {
	crc := f.frames.Load()
	return crc != nil && sum.CheckFrames(*crc, f.framesSize(), f.Size-f.FramesEnd-ltx.ChecksumSize)
}
