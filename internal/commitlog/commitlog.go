// Package commitlog stores the commits of a database in local files until they
// are on a replica.
//
// A segment is one file. It consists of a header and commits. A commit consists
// of the pages that it changed and a commit record. Numbers are big-endian.
//
//	header   magic "LTXCLOG" and version u8, page size u32, format of the
//	         database u8 u8, zero u16, number u64, base TXID u64, sum at the end
//	         of the previous segment u64, salt u64, state as of base: commit u32,
//	         level u32, min TXID u64, max TXID u64, file checksum u64,
//	         timestamp i64; owner: length of replica u16, length of name u16,
//	         replica, name; sum u64
//	page     1 u32, pgno u32, sum of the page u64, page
//	commit   2 u32, pages u32, size of the database in pages u32, zero u32,
//	         timestamp i64, sum u64
//
// The sum of a page is XXH64 of its number and its content. Its seed is the
// salt plus the offset of the page in the file. Each of the other sums is XXH64
// of the whole file before it, except the content of pages. As in SQLite's WAL,
// a page is valid if a commit record with a correct sum follows it.
//
// Version 1 has neither an owner nor sums of pages: its sums cover the whole
// file before them. The package reads such segments but does not write them.
package commitlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/superfly/ltx"
)

const (
	magic      = "LTXCLOG"
	version    = 2
	oldVersion = 1

	fixedSize     = 88 // size of a header up to the owner
	oldHeaderSize = fixedSize + sumSize
	ownerSize     = 4 // lengths of the two texts of the owner
	maxHeaderSize = fixedSize + ownerSize + 2*MaxOwnerText + sumSize
	sumSize       = 8

	pageHeader    = 16
	oldPageHeader = 8
	commitSize    = 32

	pageRecord   = 1
	commitRecord = 2

	// runSize is the maximum number of bytes written at once.
	runSize = 256 << 10

	// MaxOwnerText is the maximum length of a text of an Owner, in bytes.
	MaxOwnerText = 4096
)

var (
	// ErrInvalid means that a file is not recognised as a segment.
	ErrInvalid = errors.New("not a segment of a write buffer")

	// ErrDamaged means that a segment, or a page of it, differs from what was
	// written.
	ErrDamaged = errors.New("segment of a write buffer is damaged")

	// ErrNoHeader means that a file is empty or contains only zeros.
	ErrNoHeader = errors.New("segment of a write buffer is empty")

	// ErrVersion means that a segment was written by a newer version.
	ErrVersion = errors.New("segment of a write buffer is of a newer version")
)

// Header describes which commits a segment holds.
type Header struct {
	PageSize uint32   // in bytes
	Format   [2]byte  // bytes 18 and 19 of page 1 on the replica; zero: as committed
	Number   uint64   // number of the segment in its log
	Base     ltx.TXID // state to which the first commit applies; 0: an empty database
	Before   uint64   // sum at the end of the segment that precedes the first commit; 0: the first commit follows State
	State    State    // state as of Base if Before is 0; otherwise only Commit and Timestamp are set
	Owner    Owner    // database that the commits belong to
}

// MostBase is the highest transaction that a segment may follow. No replica comes near
// it, but a damaged or forged file may have any name.
const MostBase ltx.TXID = math.MaxUint64/4 - 1

// Owner identifies a database.
type Owner struct {
	Replica string // identity of the replica; empty if not known
	Name    string // name of the database file; empty if not known
}

// State identifies a state of a database.
type State struct {
	Commit    uint32 // size in pages
	Timestamp int64  // in milliseconds since the Unix epoch

	// LTX file that ends at this state.
	Level            int
	MinTXID, MaxTXID ltx.TXID
	Checksum         ltx.Checksum // 0 if not known
}

// Commit describes a transaction.
type Commit struct {
	Timestamp int64    // in milliseconds since the Unix epoch
	Size      uint32   // size of the database after the commit, in pages
	Pgnos     []uint32 // pages that the commit changed
	Offset    int64    // offset of the first page in the segment, see Segment.PageOffset
}

// Segment is a file of commits. Append must not be called concurrently with
// itself. ReadPage may be called concurrently with Append.
type Segment struct {
	Header

	f      *os.File
	old    map[int64]uint64 // sums of pages by offset, for version 1; nil if the file contains them
	salt   uint64
	start  int64         // offset of the first commit
	end    int64         // offset of the end of the last commit
	digest xxhash.Digest // state of the sum at end
	buf    []byte        // reused by Append
}

// Create writes the header of a new segment to an empty file.
func Create(f *os.File, h Header) (*Segment, error) {
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // Read never fails
	return create(f, h, salt)
}

func create(f *os.File, h Header, salt [8]byte) (*Segment, error) {
	if len(h.Owner.Replica) > MaxOwnerText || len(h.Owner.Name) > MaxOwnerText {
		return nil, fmt.Errorf("create segment: its owner has texts of %d and %d bytes, want at most %d", len(h.Owner.Replica), len(h.Owner.Name), MaxOwnerText)
	}
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

// sum appends the sum of everything added to the digest to b, and adds the sum
// to the digest, too.
func (s *Segment) sum(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, s.digest.Sum64())
	_, _ = s.digest.Write(b[len(b)-sumSize:])
	return b
}

// Sum returns the sum at the end of the last commit.
func (s *Segment) Sum() uint64 { return s.digest.Sum64() }

// Size returns the offset of the end of the last commit, in bytes.
func (s *Segment) Size() int64 { return s.end }

// Salt returns a random number that identifies the segment.
func (s *Segment) Salt() uint64 { return s.salt }

// IsEmpty reports whether the segment has no commits.
func (s *Segment) IsEmpty() bool { return s.end == s.start }

// PageOffset returns the offset of page i of a commit.
func (s *Segment) PageOffset(c *Commit, i int) int64 {
	return c.Offset + int64(i)*(s.pageHeader()+int64(s.PageSize))
}

// pageHeader returns the number of bytes before the content of a page.
func (s *Segment) pageHeader() int64 {
	if s.old != nil {
		return oldPageHeader
	}
	return pageHeader
}

// Append appends a commit and sets its offset. It calls page with the index and
// the buffer of each page of the commit, and page fills the buffer. If Append
// returns an error, the segment is unchanged.
func (s *Segment) Append(c *Commit, page func(i int, p []byte) error) error {
	if s.old != nil {
		return fmt.Errorf("append to a segment of version %d: %w", oldVersion, errors.ErrUnsupported)
	}
	before := s.digest
	if err := s.append(c, page); err != nil {
		s.digest = before
		// What was written does no harm: the next commit overwrites it, or the
		// next open takes it for a commit that a crash cut off. But the
		// truncation frees the space of a full disk.
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
	s.buf = b // keep the memory
	if err := flush(); err != nil {
		return err
	}
	s.end = at
	return nil
}

// Undo removes the last commit. The arguments are the results of Mark before
// that commit was appended.
func (s *Segment) Undo(size int64, digest xxhash.Digest) error {
	s.end, s.digest = size, digest
	return s.f.Truncate(size)
}

// Mark returns the arguments with which Undo removes a commit that is appended
// later.
func (s *Segment) Mark() (size int64, digest xxhash.Digest) { return s.end, s.digest }

// pageSum returns the sum of a page at offset off.
func (s *Segment) pageSum(pgno uint32, off int64, page []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(s.salt + uint64(off))
	var number [4]byte
	binary.BigEndian.PutUint32(number[:], pgno)
	_, _ = d.Write(number[:])
	_, _ = d.Write(page)
	return d.Sum64()
}

// records holds buffers for a page and its header.
var records = sync.Pool{New: func() any { return new([]byte) }}

// ReadPage fills p with page pgno of a commit, which is at offset off. It
// returns ErrDamaged if the page differs from what was committed.
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

// readError adds the location of a page to an error. A page beyond the end of
// the file is damaged.
func (s *Segment) readError(pgno uint32, off int64, err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it was cut off before page %d at %d ends", ErrDamaged, pgno, off)
	}
	return err
}

func (s *Segment) pageError(pgno uint32, off int64) error {
	return fmt.Errorf("%w: page %d at %d is not what was committed", ErrDamaged, pgno, off)
}

// Sync makes the commits durable, so that they survive a loss of power.
func (s *Segment) Sync() error { return s.f.Sync() }

// WriteAgain writes the file up to the last commit again, as the system has it, so that
// Sync makes all of it durable also after a Sync that failed: what could not be written
// then counts as written, and stays in the memory of the system for some time only. The
// error is ErrDamaged if it is lost. WriteAgain cuts off what is behind the last commit,
// such as one that Undo could not cut off.
func (s *Segment) WriteAgain() error {
	info, err := s.f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() < s.end:
		return fmt.Errorf("%w: it was cut off before its last commit ends", ErrDamaged)
	case info.Size() > s.end:
		if err := s.f.Truncate(s.end); err != nil {
			return err
		}
	}
	buf := make([]byte, 1<<20)
	for off := int64(0); off < s.end; off += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), s.end-off)]
		if _, err := s.f.ReadAt(b, off); err != nil {
			return err
		}
		if _, err := s.f.WriteAt(b, off); err != nil {
			return err
		}
	}
	// Last: what was written is in memory until it is synced.
	return s.Compare(s.f)
}

// Compare returns ErrDamaged or ErrInvalid if a file, such as a copy, does not have the
// commits of the segment.
func (s *Segment) Compare(f *os.File) error {
	again, _, err := Open(f, func(Commit) error { return nil })
	if err == nil && (again.Size() != s.Size() || again.Sum() != s.Sum()) {
		err = fmt.Errorf("%w: not all commits are there that were appended", ErrDamaged)
	}
	return err
}

// Close closes the file.
func (s *Segment) Close() error { return s.f.Close() }

// Path returns the path that the file was opened with.
func (s *Segment) Path() string { return s.f.Name() }

// Cut removes everything after the last commit, durably.
func (s *Segment) Cut() error {
	if err := s.f.Truncate(s.end); err != nil {
		return err
	}
	return s.f.Sync()
}

// CopyTo writes the whole file, unchanged, to w.
func (s *Segment) CopyTo(w io.Writer) error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(s.f, 0, info.Size()))
	return err
}
