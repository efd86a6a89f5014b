// Package commitlog keeps commits of a database in local files until they are
// on a replica.
//
// A segment is one file: a header, then commits, each of which is the pages
// that it changed and a record that ends it. Numbers are big-endian.
//
//	header   magic "LTXCLOG" and version u8, page size u32, format of the
//	         database u8 u8, zero u16, number u64, base TXID u64, sum at the end
//	         of the segment before u64, salt u64, state as of base: commit u32,
//	         level u32, min TXID u64, max TXID u64, file checksum u64,
//	         timestamp i64; owner: length of replica u16, length of name u16,
//	         replica, name; sum u64
//	page     1 u32, pgno u32, sum of the page u64, page
//	commit   2 u32, pages u32, size of the database in pages u32, zero u32,
//	         timestamp i64, sum u64
//
// The sum of a page is XXH64 of its number and its content, with the salt and
// its place in the file as seed. The other sums are XXH64 of all of the file
// before them but the content of pages. As in SQLite's WAL, a page counts if
// the record of a commit with the right sum follows it.
//
// Version 1 has no owner and no sums of pages: its sums are of all of the file
// before them. Such segments are read, and not written.
package commitlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/superfly/ltx"
)

const (
	magic      = "LTXCLOG"
	version    = 2
	oldVersion = 1

	fixedSize     = 88 // of a header, before the owner
	oldHeaderSize = fixedSize + sumSize
	ownerSize     = 4 // lengths of the owner's two texts
	maxHeaderSize = fixedSize + ownerSize + 2*MaxOwnerText + sumSize
	sumSize       = 8

	pageHeader    = 16
	oldPageHeader = 8
	commitSize    = 32

	pageRecord   = 1
	commitRecord = 2

	// runSize is how much is written at once, bytes.
	runSize = 256 << 10

	// MaxOwnerText is the longest text of an Owner, bytes.
	MaxOwnerText = 4096
)

var (
	// ErrInvalid means that a file cannot be recognised as a segment.
	ErrInvalid = errors.New("not a segment of a write buffer")

	// ErrDamaged means that a segment, or a page of it, is not as it was written.
	ErrDamaged = errors.New("segment of a write buffer is damaged")

	// ErrNoHeader means that a file has nothing in it, or nothing but zeros.
	ErrNoHeader = errors.New("segment of a write buffer is empty")

	// ErrVersion means that a segment was written by a newer version.
	ErrVersion = errors.New("segment of a write buffer is of a newer version")
)

// Header says which commits a segment holds.
type Header struct {
	PageSize uint32   // bytes
	Format   [2]byte  // bytes 18 and 19 of page 1 as the replica has them; zero: as written
	Number   uint64   // of the segment in its log
	Base     ltx.TXID // state that the first commit changes; 0: an empty database
	Before   uint64   // sum at the end of the segment that the first commit follows; 0: it follows State
	State    State    // as of Base, where Before is 0; else only Commit and Timestamp
	Owner    Owner    // the database that the commits are of
}

// Owner tells a database from others.
type Owner struct {
	Replica string // identity of the replica; empty: not known
	Name    string // of the database file; empty: not known
}

// State tells a state of a database from others.
type State struct {
	Commit    uint32 // size, pages
	Timestamp int64  // ms since the Unix epoch

	// The LTX file that ends there.
	Level            int
	MinTXID, MaxTXID ltx.TXID
	Checksum         ltx.Checksum // 0: not known
}

// Commit is a transaction.
type Commit struct {
	Timestamp int64    // ms since the Unix epoch
	Size      uint32   // of the database after it, pages
	Pgnos     []uint32 // pages that it changed
	Offset    int64    // of the first of them in the segment, see Segment.PageOffset
}

// Segment is a file of commits. Append is for one at a time; ReadPage may be
// called concurrently with it.
type Segment struct {
	Header

	f      *os.File
	old    map[int64]uint64 // sums of pages by offset, of version 1; nil: they are in the file
	salt   uint64
	start  int64         // of the first commit
	end    int64         // of the last commit
	digest xxhash.Digest // of what the sum of the next commit is of, up to there
	buf    []byte        // of Append
}

// Create writes the header of a new segment to an empty file.
func Create(f *os.File, h Header) (*Segment, error) {
	if len(h.Owner.Replica) > MaxOwnerText || len(h.Owner.Name) > MaxOwnerText {
		return nil, fmt.Errorf("create segment: its owner has texts of %d and %d bytes, want at most %d", len(h.Owner.Replica), len(h.Owner.Name), MaxOwnerText)
	}
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // never fails
	b := make([]byte, 0, fixedSize+ownerSize+len(h.Owner.Replica)+len(h.Owner.Name)+sumSize)
	b = append(append(b, magic...), version)
	b = binary.BigEndian.AppendUint32(b, h.PageSize)
	b = append(b, h.Format[0], h.Format[1], 0, 0)
	b = binary.BigEndian.AppendUint64(b, h.Number)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Base))
	b = binary.BigEndian.AppendUint64(b, h.Before)
	b = append(b, salt[:]...)
	b = binary.BigEndian.AppendUint32(b, h.State.Commit)
	b = binary.BigEndian.AppendUint32(b, uint32(h.State.Level))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.MinTXID))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.MaxTXID))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.Checksum))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.Timestamp))
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Owner.Replica)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.Owner.Name)))
	b = append(append(b, h.Owner.Replica...), h.Owner.Name...)
	s := &Segment{Header: h, f: f, salt: binary.BigEndian.Uint64(salt[:])}
	s.digest.Reset()
	_, _ = s.digest.Write(b)
	b = s.sum(b)
	s.start, s.end = int64(len(b)), int64(len(b))
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, err
	}
	return s, nil
}

// sum ends b with the sum of all that the digest has, and adds that to the
// digest.
func (s *Segment) sum(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, s.digest.Sum64())
	_, _ = s.digest.Write(b[len(b)-sumSize:])
	return b
}

// Sum returns the sum at the end of the last commit.
func (s *Segment) Sum() uint64 { return s.digest.Sum64() }

// Size returns where the last commit ends, bytes.
func (s *Segment) Size() int64 { return s.end }

// Salt returns a number that no other segment has.
func (s *Segment) Salt() uint64 { return s.salt }

// IsEmpty tells whether there is no commit.
func (s *Segment) IsEmpty() bool { return s.end == s.start }

// PageOffset returns where the i-th page of a commit is.
func (s *Segment) PageOffset(c *Commit, i int) int64 {
	return c.Offset + int64(i)*(s.pageHeader()+int64(s.PageSize))
}

// pageHeader returns how many bytes there are in front of a page.
func (s *Segment) pageHeader() int64 {
	if s.old != nil {
		return oldPageHeader
	}
	return pageHeader
}

// Append writes a commit behind the last, and sets its offset. Page is called
// with the index of each of its pages, to fill in. After an error the segment
// is as it was before.
func (s *Segment) Append(c *Commit, page func(i int, p []byte) error) error {
	if s.old != nil {
		return fmt.Errorf("append to a segment of version %d: %w", oldVersion, errors.ErrUnsupported)
	}
	before := s.digest
	if err := s.append(c, page); err != nil {
		s.digest = before
		// What was written would be taken for what a crash cut off, or be
		// written over. But a disk that is full has room again.
		return errors.Join(err, s.f.Truncate(s.end))
	}
	return nil
}

func (s *Segment) append(c *Commit, page func(i int, p []byte) error) error {
	b := s.buf[:0]
	at := s.end
	c.Offset = at + pageHeader
	flush := func() error {
		_, err := s.f.WriteAt(b, at)
		at += int64(len(b))
		b = b[:0]
		return err
	}
	for i, pgno := range c.Pgnos {
		if len(b) > 0 && len(b)+pageHeader+int(s.PageSize) > runSize {
			if err := flush(); err != nil {
				return err
			}
		}
		n := len(b)
		b = append(b, make([]byte, pageHeader+int(s.PageSize))...)
		head, content := b[n:n+pageHeader], b[n+pageHeader:]
		if err := page(i, content); err != nil {
			return err
		}
		binary.BigEndian.PutUint32(head, pageRecord)
		binary.BigEndian.PutUint32(head[4:], pgno)
		binary.BigEndian.PutUint64(head[8:], s.pageSum(pgno, at+int64(n)+pageHeader, content))
		_, _ = s.digest.Write(head)
	}
	n := len(b)
	b = binary.BigEndian.AppendUint32(b, commitRecord)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Pgnos)))
	b = binary.BigEndian.AppendUint32(b, c.Size)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Timestamp))
	_, _ = s.digest.Write(b[n:])
	b = s.sum(b)
	s.buf = b // its memory
	if err := flush(); err != nil {
		return err
	}
	s.end = at
	return nil
}

// Undo takes the last commit back, which began at size.
func (s *Segment) Undo(size int64, digest xxhash.Digest) error {
	s.end, s.digest = size, digest
	return s.f.Truncate(size)
}

// Mark returns what Undo needs to take back what is appended from now on.
func (s *Segment) Mark() (size int64, digest xxhash.Digest) { return s.end, s.digest }

// pageSum returns the sum of a page at an offset.
func (s *Segment) pageSum(pgno uint32, off int64, page []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(s.salt + uint64(off))
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], pgno)
	_, _ = d.Write(number[:])
	_, _ = d.Write(page)
	return d.Sum64()
}

// records holds buffers for pages with what is in front of them.
var records = sync.Pool{New: func() any { return new([]byte) }}

// ReadPage fills p with the page that a commit has at an offset. The error is
// ErrDamaged if it is not what was committed.
func (s *Segment) ReadPage(pgno uint32, off int64, p []byte) error {
	if s.old != nil {
		if _, err := s.f.ReadAt(p, off); err != nil {
			return s.readError(pgno, off, err)
		}
		if sum, ok := s.old[off]; !ok || sum != s.pageSum(pgno, off, p) {
			return s.pageError(pgno, off)
		}
		return nil
	}
	buf := records.Get().(*[]byte)
	defer records.Put(buf)
	if n := pageHeader + len(p); cap(*buf) < n {
		*buf = make([]byte, n)
	}
	b := (*buf)[:pageHeader+len(p)]
	if _, err := s.f.ReadAt(b, off-pageHeader); err != nil {
		return s.readError(pgno, off, err)
	}
	copy(p, b[pageHeader:])
	if binary.BigEndian.Uint32(b) != pageRecord || binary.BigEndian.Uint32(b[4:]) != pgno ||
		binary.BigEndian.Uint64(b[8:]) != s.pageSum(pgno, off, p) {
		return s.pageError(pgno, off)
	}
	return nil
}

// readError says where a page could not be read. A page that the end of the
// file cuts off is damaged.
func (s *Segment) readError(pgno uint32, off int64, err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it was cut off before page %d at %d ends", ErrDamaged, pgno, off)
	}
	return err
}

func (s *Segment) pageError(pgno uint32, off int64) error {
	return fmt.Errorf("%w: page %d at %d is not what was committed", ErrDamaged, pgno, off)
}

// Sync has what was written survive the loss of power.
func (s *Segment) Sync() error { return s.f.Sync() }

// Close closes the file.
func (s *Segment) Close() error { return s.f.Close() }

// Path returns the path that the file was opened with.
func (s *Segment) Path() string { return s.f.Name() }

// Cut removes what follows the last commit, durably.
func (s *Segment) Cut() error {
	if err := s.f.Truncate(s.end); err != nil {
		return err
	}
	return s.f.Sync()
}

// CopyTo writes the file as it is to another one.
func (s *Segment) CopyTo(w io.Writer) error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(s.f, 0, info.Size()))
	return err
}
