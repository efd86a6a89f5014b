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
//	         timestamp i64; sum u64
//	page     1 u32, pgno u32, page
//	commit   2 u32, pages u32, size of the database in pages u32, zero u32,
//	         timestamp i64, sum u64
//
// A sum is XXH64 of all of the file before it. As in SQLite's WAL, what counts
// is what is followed by the record of a commit with the right sum; the rest is
// what a crash cut off.
package commitlog

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/cespare/xxhash/v2"
	"github.com/superfly/ltx"
)

const (
	magic   = "LTXCLOG"
	version = 1

	headerSize = 96
	pageHeader = 8
	commitSize = 32

	pageRecord   = 1
	commitRecord = 2

	// runSize is how much is written at once, bytes.
	runSize = 256 << 10
)

var (
	// ErrInvalid means that a file is no segment.
	ErrInvalid = errors.New("not a segment of a write buffer")

	// ErrNoHeader means that not even the header of a segment was written whole,
	// so that there cannot be a commit.
	ErrNoHeader = errors.New("segment of a write buffer ends before its first commit")

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

// Segment is a file of commits. Append is for one at a time; ReadAt may be
// called concurrently with it.
type Segment struct {
	Header

	f      *os.File
	end    int64         // of the last commit
	digest xxhash.Digest // of all up to there
	buf    []byte        // of Append
}

// Create writes the header of a new segment to an empty file.
func Create(f *os.File, h Header) (*Segment, error) {
	b := make([]byte, 0, headerSize)
	b = append(append(b, magic...), version)
	b = binary.BigEndian.AppendUint32(b, h.PageSize)
	b = append(b, h.Format[0], h.Format[1], 0, 0)
	b = binary.BigEndian.AppendUint64(b, h.Number)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Base))
	b = binary.BigEndian.AppendUint64(b, h.Before)
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // never fails
	b = append(b, salt[:]...)
	b = binary.BigEndian.AppendUint32(b, h.State.Commit)
	b = binary.BigEndian.AppendUint32(b, uint32(h.State.Level))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.MinTXID))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.MaxTXID))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.Checksum))
	b = binary.BigEndian.AppendUint64(b, uint64(h.State.Timestamp))
	s := &Segment{Header: h, f: f, end: headerSize}
	s.digest.Reset()
	b = s.sum(b)
	if _, err := f.WriteAt(b, 0); err != nil {
		return nil, err
	}
	return s, nil
}

// sum ends b with the sum of all before, and adds all to the digest.
func (s *Segment) sum(b []byte) []byte {
	_, _ = s.digest.Write(b)
	b = binary.BigEndian.AppendUint64(b, s.digest.Sum64())
	_, _ = s.digest.Write(b[len(b)-8:])
	return b
}

// Sum returns the sum at the end of the last commit.
func (s *Segment) Sum() uint64 { return s.digest.Sum64() }

// Size returns where the last commit ends, bytes.
func (s *Segment) Size() int64 { return s.end }

// IsEmpty tells whether there is no commit.
func (s *Segment) IsEmpty() bool { return s.end == headerSize }

// PageOffset returns where the i-th page of a commit is.
func (s *Segment) PageOffset(c *Commit, i int) int64 {
	return c.Offset + int64(i)*(pageHeader+int64(s.PageSize))
}

// Append writes a commit behind the last, and sets its offset. Page is called
// with the index of each of its pages, to fill in. After an error the segment
// is as it was before.
func (s *Segment) Append(c *Commit, page func(i int, p []byte) error) error {
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
			_, _ = s.digest.Write(b)
			if err := flush(); err != nil {
				return err
			}
		}
		b = binary.BigEndian.AppendUint32(b, pageRecord)
		b = binary.BigEndian.AppendUint32(b, pgno)
		n := len(b)
		b = append(b, make([]byte, s.PageSize)...)
		if err := page(i, b[n:]); err != nil {
			return err
		}
	}
	b = binary.BigEndian.AppendUint32(b, commitRecord)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Pgnos)))
	b = binary.BigEndian.AppendUint32(b, c.Size)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Timestamp))
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

// ReadAt fills p with what is at an offset.
func (s *Segment) ReadAt(p []byte, off int64) error {
	_, err := s.f.ReadAt(p, off)
	return err
}

// Sync has what was written survive the loss of power.
func (s *Segment) Sync() error { return s.f.Sync() }

// Close closes the file.
func (s *Segment) Close() error { return s.f.Close() }

// CopyTo writes all of the commits to another file.
func (s *Segment) CopyTo(w io.Writer) error {
	_, err := io.Copy(w, io.NewSectionReader(s.f, 0, s.end))
	return err
}

// Open reads a segment, and calls fn with each commit. Lost is how many bytes
// follow the last, of one that is not whole.
func Open(f *os.File, fn func(Commit) error) (s *Segment, lost int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	b := make([]byte, headerSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, 0, err
	}
	s, err = parseHeader(b)
	if err != nil && (n < headerSize || errors.Is(err, ErrInvalid) && info.Size() == headerSize) && isCutOff(b[:n]) {
		err = ErrNoHeader
	}
	if err != nil {
		return nil, 0, err
	}
	s.f = f
	r := bufio.NewReaderSize(io.NewSectionReader(f, headerSize, info.Size()-headerSize), runSize)
	for {
		ok, err := s.next(r, info.Size(), fn)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			return s, info.Size() - s.end, nil
		}
	}
}

// isCutOff tells whether there may be the begin of a header, of which a crash
// left no more, or zeros instead.
func isCutOff(b []byte) bool {
	n := min(len(b), len(magic))
	return string(b[:n]) == magic[:n] || len(bytes.Trim(b, "\x00")) == 0
}

func parseHeader(b []byte) (*Segment, error) {
	if string(b[:len(magic)]) != magic {
		return nil, ErrInvalid
	}
	if b[len(magic)] != version {
		return nil, fmt.Errorf("%w: %d", ErrVersion, b[len(magic)])
	}
	s := &Segment{end: headerSize}
	s.digest.Reset()
	_, _ = s.digest.Write(b[:headerSize-8])
	if s.digest.Sum64() != binary.BigEndian.Uint64(b[headerSize-8:]) {
		return nil, fmt.Errorf("%w: its header has another sum", ErrInvalid)
	}
	_, _ = s.digest.Write(b[headerSize-8:])
	s.PageSize = binary.BigEndian.Uint32(b[8:])
	s.Format = [2]byte(b[12:])
	s.Number = binary.BigEndian.Uint64(b[16:])
	s.Base = ltx.TXID(binary.BigEndian.Uint64(b[24:]))
	s.Before = binary.BigEndian.Uint64(b[32:])
	s.State = State{
		Commit:    binary.BigEndian.Uint32(b[48:]),
		Level:     int(binary.BigEndian.Uint32(b[52:])),
		MinTXID:   ltx.TXID(binary.BigEndian.Uint64(b[56:])),
		MaxTXID:   ltx.TXID(binary.BigEndian.Uint64(b[64:])),
		Checksum:  ltx.Checksum(binary.BigEndian.Uint64(b[72:])),
		Timestamp: int64(binary.BigEndian.Uint64(b[80:])),
	}
	if !ltx.IsValidPageSize(s.PageSize) || s.Base >= math.MaxUint64/4 {
		return nil, fmt.Errorf("%w: its header says page size %d, base %d", ErrInvalid, s.PageSize, uint64(s.Base))
	}
	return s, nil
}

// next reads a commit. It reports false where there is no whole one any more.
func (s *Segment) next(r io.Reader, size int64, fn func(Commit) error) (ok bool, err error) {
	c := Commit{Offset: s.end + pageHeader}
	digest, at := s.digest, s.end
	ends := func(err error) (bool, error) {
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			err = nil
		}
		return false, err
	}
	var head [commitSize]byte
	page := make([]byte, s.PageSize)
	lock := ltx.LockPgno(s.PageSize)
	for {
		if _, err := io.ReadFull(r, head[:pageHeader]); err != nil {
			return ends(err)
		}
		kind, n := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		if kind != pageRecord {
			if kind != commitRecord || int(n) != len(c.Pgnos) {
				return false, nil
			}
			break
		}
		if n == 0 || n == lock || len(c.Pgnos) > 0 && n <= c.Pgnos[len(c.Pgnos)-1] {
			return false, nil
		}
		if _, err := io.ReadFull(r, page); err != nil {
			return ends(err)
		}
		_, _ = digest.Write(head[:pageHeader])
		_, _ = digest.Write(page)
		c.Pgnos = append(c.Pgnos, n)
		at += pageHeader + int64(len(page))
	}
	if _, err := io.ReadFull(r, head[pageHeader:]); err != nil {
		return ends(err)
	}
	_, _ = digest.Write(head[:commitSize-8])
	if digest.Sum64() != binary.BigEndian.Uint64(head[commitSize-8:]) {
		return false, nil
	}
	_, _ = digest.Write(head[commitSize-8:])
	c.Size = binary.BigEndian.Uint32(head[8:])
	c.Timestamp = int64(binary.BigEndian.Uint64(head[16:]))
	if c.Size == 0 || len(c.Pgnos) > 0 && c.Pgnos[len(c.Pgnos)-1] > c.Size {
		return false, nil
	}
	s.digest, s.end = digest, at+commitSize
	return true, fn(c)
}
