package ltxio

import (
	"encoding/binary"
	"hash/crc64"

	"github.com/superfly/ltx"
)

// Sum is the checksum of a part of an LTX file. The checksum of an LTX file
// covers the file with its pages uncompressed. Sums of adjacent parts can be
// computed in parallel and joined. The zero value is the sum of an empty part.
type Sum struct {
	crc uint64
	n   int64 // length of the part, in bytes
}

// Add adds bytes that are not part of a frame.
func (s *Sum) Add(b []byte) {
	s.crc = updateCRC(s.crc, b)
	s.n += int64(len(b))
}

// AddFrame adds a frame, given the page that it decodes to.
func (s *Sum) AddFrame(frame, page []byte) {
	n := ltx.PageHeaderSize
	if hasSize(frame) {
		n += 4
	}
	s.Add(frame[:n])
	s.Add(page)
}

// AddPage is AddFrame for a frame that is not at hand, given its page, its
// size, and whether it contains that size (see IsSized).
func (s *Sum) AddPage(pgno, frameSize uint32, sized bool, page []byte) {
	var hdr [ltx.PageHeaderSize + 4]byte
	binary.BigEndian.PutUint32(hdr[:], pgno)
	if !sized {
		s.Add(hdr[:ltx.PageHeaderSize])
	} else {
		binary.BigEndian.PutUint16(hdr[4:], ltx.PageHeaderFlagSize)
		binary.BigEndian.PutUint32(hdr[ltx.PageHeaderSize:], frameSize-uint32(len(hdr)))
		s.Add(hdr[:])
	}
	s.Add(page)
}

// Join returns the sum of s and the adjacent part next.
func (s Sum) Join(next Sum) Sum {
	return Sum{crc: mulX(s.crc, uint64(next.n)*8) ^ next.crc, n: s.n + next.n}
}

// Check compares the sum of a whole file, up to the checksum at its end, with
// that checksum.
func (s Sum) Check(trailer ltx.Trailer) error {
	if sum := ltx.ChecksumFlag | ltx.Checksum(s.crc); sum != trailer.FileChecksum {
		return corrupt("checksum is %s, trailer says %s", sum, trailer.FileChecksum)
	}
	return nil
}

// FramesCRC returns the value that CheckFrames needs for a file. It is the
// checksum of the file without the contributions of the part before the frames
// and of the part after them. The frames have n bytes with their pages
// uncompressed.
func FramesCRC(checksum ltx.Checksum, head Sum, n int64, tail Sum) uint64 {
	return uint64(checksum) ^ tail.crc ^ mulX(head.crc, uint64(n+tail.n)*8)
}

// CheckFrames reports whether s can be the sum of all frames of a file. In that
// file, the frames are followed by tail bytes up to the checksum.
func (s Sum) CheckFrames(framesCRC uint64, n, tail int64) bool {
	diff := framesCRC ^ mulX(s.crc, uint64(tail)*8)
	return s.n == n && diff&^uint64(ltx.ChecksumFlag) == 0
}

// IsSameBehind reports, from the checksums of two files with different headers,
// whether the files have the same content after the header. The checksum covers
// rest bytes of that content.
func IsSameBehind(header1 []byte, sum1 ltx.Checksum, header2 []byte, sum2 ltx.Checksum, rest int64) bool {
	var a, b Sum
	a.Add(header1)
	b.Add(header2)
	difference := ltx.Checksum(mulX(a.crc^b.crc, uint64(rest)*8))
	return (sum1^sum2^difference)|ltx.ChecksumFlag == ltx.ChecksumFlag
}

// In the functions below, a uint64 is a polynomial over GF(2) modulo the
// polynomial of the CRC. Its highest bit is the coefficient of x^0.

// mulX returns p times x^n.
func mulX(p, n uint64) uint64 {
	for square := uint64(1) << 62; n > 0; n >>= 1 { // x, x^2, x^4, ...
		if n&1 != 0 {
			p = mul(square, p)
		}
		square = mul(square, square)
	}
	return p
}

// mul returns the product of a and b.
func mul(a, b uint64) (p uint64) {
	for ; a != 0; a <<= 1 {
		if a>>63 != 0 {
			p ^= b
		}
		carry := b & 1
		b >>= 1
		if carry != 0 {
			b ^= crc64.ISO
		}
	}
	return p
}
