package dbheader

import (
	"encoding/binary"
	"slices"
)

// SQLite's extension cksumvfs keeps a checksum in the last 8 bytes of each page
// of a database that reserves 8 bytes per page. The checksum consists of two
// sums over the little-endian 32-bit words before it, and each sum includes the
// other. Code that changes bytes of page 1 also updates the checksum, if the
// checksum was correct before.

const (
	pageChecksumSize = 8
	OffReserved      = 20 // number of bytes at the end of each page that SQLite does not use
)

// pageChecksum returns the checksum of a page.
func pageChecksum(page []byte) (sum [pageChecksumSize]byte) {
	var s1, s2 uint32
	for p := page[:len(page)-pageChecksumSize]; len(p) >= 8; p = p[8:] {
		s1 += binary.LittleEndian.Uint32(p) + s2
		s2 += binary.LittleEndian.Uint32(p[4:]) + s1
	}
	binary.LittleEndian.PutUint32(sum[:], s1)
	binary.LittleEndian.PutUint32(sum[4:], s2)
	return sum
}

// hasPageChecksum reports whether page 1 ends with its correct checksum.
func hasPageChecksum(page []byte) bool {
	return len(page) >= MinPageSize && page[OffReserved] == pageChecksumSize &&
		pageChecksum(page) == [pageChecksumSize]byte(page[len(page)-pageChecksumSize:])
}

// SetFormat sets the read and write version in page 1 and updates its checksum.
func SetFormat(page []byte, format [2]byte) {
	checked := hasPageChecksum(page)
	copy(page[OffWriteVersion:], format[:])
	if checked {
		sum := pageChecksum(page)
		copy(page[len(page)-pageChecksumSize:], sum[:])
	}
}

// Served holds the parts of page 1 that differ between the served and
// the stored form.
type Served struct {
	Header   [Size]byte
	checked  bool                   // page 1 has a checksum
	checksum [pageChecksumSize]byte // last bytes of page 1, if checked
}

// Serve returns these parts for page 1 as stored.
func Serve(page []byte, number, commit, shift uint32) *Served {
	s := new(Served)
	copy(s.Header[:], page)
	Patch(s.Header[:], number, commit)
	cookie := s.Header[OffSchemaCookie : OffSchemaCookie+4]
	binary.BigEndian.PutUint32(cookie, binary.BigEndian.Uint32(cookie)+shift)
	if s.checked = hasPageChecksum(page); s.checked {
		page = slices.Clone(page)
		copy(page, s.Header[:])
		s.checksum = pageChecksum(page)
	}
	return s
}

// Put copies these parts to p, which holds the bytes of page 1 from offset off
// on.
func (s *Served) Put(p []byte, off, pageSize int64) {
	if off < Size {
		copy(p, s.Header[off:])
	}
	at := pageSize - pageChecksumSize // offset of the checksum
	if !s.checked || off+int64(len(p)) <= at {
		return
	}
	if off <= at {
		copy(p[at-off:], s.checksum[:])
	} else {
		copy(p, s.checksum[off-at:])
	}
}
