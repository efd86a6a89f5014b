package fulltext

// A Segment is a part of a full-text index. A term is looked up in each of them.
type Segment struct {
	ID          int64
	First, Last int64 // numbers of its leaves
}

// StructureID is the rowid of the structure record in the table with the suffix
// _data. The record lists the segments.
const StructureID = 10

const (
	cookieSize = 4 // the record begins with it

	// marker follows the cookie of a record with more numbers for each segment. It is
	// written for contentless tables with contentless_delete.
	marker       = "\xff\x00\x00\x01"
	moreNumbers  = 5
	pageBits     = 31
	segmentShift = 37 // the bits between are 0 in the rowid of a leaf
	maxSegmentID = 1 << 16
	maxSegments  = 2000
)

// ParseStructure returns the segments that a structure record lists, in the order in
// which a term is looked up in them. It reports false if the blob is no such record.
func ParseStructure(blob []byte) (segments []Segment, ok bool) {
	if len(blob) < cookieSize {
		return nil, false
	}
	r, more := reader{rest: blob[cookieSize:]}, 0
	if len(r.rest) >= len(marker) && string(r.rest[:len(marker)]) == marker {
		r.rest, more = r.rest[len(marker):], moreNumbers
	}
	levels, total := r.varint(), r.varint()
	r.varint() // the number of leaves that were written
	if r.failed || levels > maxSegments || total > maxSegments {
		return nil, false
	}
	for range levels {
		r.varint() // the number of segments that are being merged
		n := r.varint()
		if r.failed || n > total-uint64(len(segments)) {
			return nil, false
		}
		level := make([]Segment, n)
		for i := range level { // the oldest one comes first, and is read last
			s := Segment{int64(r.varint()), int64(r.varint()), int64(r.varint())}
			for range more {
				r.varint()
			}
			if r.failed || s.ID <= 0 || s.ID >= maxSegmentID || s.First < 0 || s.Last < s.First || s.Last >= 1<<pageBits {
				return nil, false
			}
			level[len(level)-1-i] = s
		}
		segments = append(segments, level...)
	}
	if len(segments) != int(total) {
		return nil, false
	}
	return segments, true
}

// LeafID returns the rowid of leaf number page of a segment.
func (s Segment) LeafID(page int64) int64 { return s.ID<<segmentShift + page }

// ParseLeafID returns the segment and the number of the leaf with a rowid. It
// reports false for the rowid of another row.
func ParseLeafID(rowid int64) (segment, page int64, ok bool) {
	segment, page = rowid>>segmentShift, rowid&(1<<segmentShift-1)
	return segment, page, segment > 0 && segment < maxSegmentID && page < 1<<pageBits
}

// ParseEntry returns the number of the leaf in the column pgno of the table with the
// suffix _idx, which has the first terms of leaves.
func ParseEntry(pgno int64) (page int64) {
	return pgno >> 1 // the last bit tells of an index of the list
}
