package ltxio

import (
	"encoding/binary"
	"hash/crc64"

	"github.com/superfly/ltx"
)

// Sum is the checksum of a stretch of what an LTX file's checksum is over:
// the file with its pages uncompressed. Sums of stretches that follow each
// other can be made in parallel and joined. The zero value is that of an
// empty stretch.
type Sum struct {
	crc uint64
	n   int64 // bytes
}

// Add adds bytes that are not part of a frame.
func (s *Sum) Add(b []byte) {
	s.crc = updateCRC(s.crc, b)
	s.n += int64(len(b))
}

// AddFrame adds a frame, and the page that it decodes to.
func (s *Sum) AddFrame(frame, page []byte) {
	n := ltx.PageHeaderSize
	if hasSize(frame) {
		n += 4
	}
	s.Add(frame[:n])
	s.Add(page)
}

// AddPage is AddFrame of a frame of which the page is known, the size, and
// whether it says that size itself; see IsSized.
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

// Join returns the sum of a stretch and the one that follows it.
func (s Sum) Join(next Sum) Sum {
	return Sum{crc: mulX(s.crc, uint64(next.n)*8) ^ next.crc, n: s.n + next.n}
}

// Check compares the sum of all of a file, up to the file checksum at its
// end, with that checksum.
func (s Sum) Check(trailer ltx.Trailer) error {
	if sum := ltx.ChecksumFlag | ltx.Checksum(s.crc); sum != trailer.FileChecksum {
		return corrupt("checksum is %s, trailer says %s", sum, trailer.FileChecksum)
	}
	return nil
}

// FramesCRC returns what CheckFrames needs to know of a file: its checksum,
// without what precedes its frames, of n bytes with pages uncompressed, and
// what follows them.
func FramesCRC(checksum ltx.Checksum, head Sum, n int64, tail Sum) uint64 {
	return uint64(checksum) ^ tail.crc ^ mulX(head.crc, uint64(n+tail.n)*8)
}

// CheckFrames tells whether s can be the sum of all frames of a file, which tail
// bytes follow up to its checksum.
func (s Sum) CheckFrames(framesCRC uint64, n, tail int64) bool {
	diff := framesCRC ^ mulX(s.crc, uint64(tail)*8)
	return s.n == n && diff&^uint64(ltx.ChecksumFlag) == 0
}

// IsSameBehind tells by the checksums of two files whether they have the same
// content behind headers that differ. The content is that of so many bytes that
// the checksum is over.
func IsSameBehind(header1 []byte, sum1 ltx.Checksum, header2 []byte, sum2 ltx.Checksum, rest int64) bool {
	var a, b Sum
	a.Add(header1)
	b.Add(header2)
	difference := ltx.Checksum(mulX(a.crc^b.crc, uint64(rest)*8))
	return (sum1^sum2^difference)|ltx.ChecksumFlag == ltx.ChecksumFlag
}

// In what follows, a uint64 is a polynomial over GF(2), its highest bit the
// coefficient of x^0, modulo that of the CRC.

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
