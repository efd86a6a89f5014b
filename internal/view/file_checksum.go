package view

import (
	"bytes"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// SetChecksum notes the checksum of a file. Head is the beginning of the file
// with the first bytes of its first frame, and tail is all after its frames.
func (f *File) SetChecksum(checksum ltx.Checksum, head, tail []byte) {
	var after ltxio.Sum
	after.Add(tail[:len(tail)-ltx.ChecksumSize])
	f.Checksum, f.Sized = checksum, ltxio.IsSized(head[ltx.HeaderSize:])
	f.setFrames(head, after)
}

func (f *File) setFrames(head []byte, after ltxio.Sum) {
	var before ltxio.Sum
	before.Add(head[:ltx.HeaderSize])
	crc := ltxio.FramesCRC(f.Checksum, before, f.framesSize(), after)
	f.frames.Store(&crc)
}

// SetDenseChecksum notes the checksum of a file whose page index was not read. Head
// is the beginning of the file with the first bytes of its first frame, and rest is
// all after the entries of the index.
func (f *File) SetDenseChecksum(checksum ltx.Checksum, head, rest []byte) {
	f.Checksum, f.Sized = checksum, ltxio.IsSized(head[ltx.HeaderSize:])
	f.Dense.head = bytes.Clone(head[:ltx.HeaderSize])
	f.Dense.rest = bytes.Clone(rest[:len(rest)-ltx.ChecksumSize])
}

// SetIndexSum notes the sum of what is between the frames of such a file and the
// end of the entries of its index.
func (f *File) SetIndexSum(sum ltxio.Sum) {
	var rest ltxio.Sum
	rest.Add(f.Dense.rest)
	f.setFrames(f.Dense.head, sum.Join(rest))
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
