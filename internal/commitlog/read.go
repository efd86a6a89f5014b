package commitlog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/superfly/ltx"
)

// Tail describes the bytes after the last commit of a segment.
type Tail struct {
	Size  int64 // in bytes
	Zeros bool  // there are only zeros
	Err   error // why the bytes are not a commit; nil if there are none
}

// HasData reports whether the tail may contain a part of a commit.
func (t Tail) HasData() bool { return t.Size > 0 && !t.Zeros }

// Open reads a segment and calls fn with each commit.
func Open(f *os.File, fn func(Commit) error) (s *Segment, tail Tail, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, tail, err
	}
	b := make([]byte, maxHeaderSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, tail, err
	}
	if s, err = parseHeader(b[:n]); err != nil {
		zeros, zerr := isZero(f, 0, info.Size())
		if zerr != nil {
			return nil, tail, zerr
		}
		if zeros {
			err = ErrNoHeader
		}
		return nil, tail, err
	}
	s.f = f
	r := bufio.NewReaderSize(io.NewSectionReader(f, s.start, info.Size()-s.start), runSize)
	for {
		end, err := s.next(r, fn)
		if err != nil {
			return nil, tail, err
		}
		if end == nil {
			continue
		}
		tail.Size = info.Size() - s.end
		if tail.Size > 0 {
			tail.Err = end
			tail.Zeros, err = isZero(f, s.end, info.Size())
		}
		return s, tail, err
	}
}

// isZero reports whether a part of a file contains only zeros.
func isZero(f *os.File, from, to int64) (bool, error) {
	b := make([]byte, 64<<10)
	for from < to {
		n, err := f.ReadAt(b[:min(int64(len(b)), to-from)], from)
		if len(bytes.Trim(b[:n], "\x00")) > 0 {
			return false, nil
		}
		if from += int64(n); err == io.EOF {
			return true, nil // the file was cut off meanwhile
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// parseHeader parses the header at the start of a file.
func parseHeader(b []byte) (*Segment, error) {
	n := min(len(b), len(magic))
	isOurs := string(b[:n]) == magic
	switch {
	case n < len(magic) && string(b[:n]) == magic[:n] && n > 0:
		return nil, fmt.Errorf("%w: it was cut off in its header", ErrDamaged)
	case len(b) < oldHeaderSize && isOurs:
		return nil, fmt.Errorf("%w: it was cut off in its header", ErrDamaged)
	case len(b) < oldHeaderSize:
		return nil, ErrInvalid
	case !isOurs:
		// The first bytes are damaged, but a correct sum shows that this is a
		// segment.
		b = append([]byte(magic), b[len(magic):]...)
		if _, err := parseHeader(b); err != nil {
			return nil, ErrInvalid
		}
		return nil, fmt.Errorf("%w: its first bytes", ErrDamaged)
	}
	s := new(Segment)
	size := oldHeaderSize
	switch b[len(magic)] {
	case version:
		lens := [2]int{int(binary.BigEndian.Uint16(b[fixedSize:])), int(binary.BigEndian.Uint16(b[fixedSize+2:]))}
		size = fixedSize + ownerSize + lens[0] + lens[1] + sumSize
		if size > len(b) || lens[0] > MaxOwnerText || lens[1] > MaxOwnerText {
			return nil, fmt.Errorf("%w: its header is cut off, or says a wrong length", ErrDamaged)
		}
		owner := string(b[fixedSize+ownerSize : size-sumSize])
		s.Owner = Owner{Replica: owner[:lens[0]], Name: owner[lens[0]:]}
	case oldVersion:
		s.old = make(map[int64]uint64)
	default:
		return nil, otherVersion(b)
	}
	s.digest.Reset()
	_, _ = s.digest.Write(b[:size-sumSize])
	if s.digest.Sum64() != binary.BigEndian.Uint64(b[size-sumSize:]) {
		return nil, fmt.Errorf("%w: the checksum of its header is wrong", ErrDamaged)
	}
	_, _ = s.digest.Write(b[size-sumSize : size])
	s.start, s.end = int64(size), int64(size)
	return s, s.parseFixed(b)
}

// otherVersion returns the error of a header with a version that this package does
// not know. No version has the number 0, which is there when a crash has cut off the
// write of the header. If the sum of the header is right for a known one, only the
// number of the version is damaged.
func otherVersion(b []byte) error {
	n := b[len(magic)]
	if n == 0 {
		return fmt.Errorf("%w: its header has no version", ErrDamaged)
	}
	for _, known := range []byte{version, oldVersion} {
		again := bytes.Clone(b)
		again[len(magic)] = known
		if _, err := parseHeader(again); err == nil {
			return fmt.Errorf("%w: its header says version %d", ErrDamaged, n)
		}
	}
	return fmt.Errorf("%w: %d", ErrVersion, n)
}

// parseFixed parses the fixed fields of a header. Its sum has been checked.
func (s *Segment) parseFixed(b []byte) error {
	s.PageSize = binary.BigEndian.Uint32(b[8:])
	s.Format = [2]byte(b[12:])
	s.Number = binary.BigEndian.Uint64(b[16:])
	s.Base = ltx.TXID(binary.BigEndian.Uint64(b[24:]))
	s.Before = binary.BigEndian.Uint64(b[32:])
	s.salt = binary.BigEndian.Uint64(b[40:])
	s.State = State{
		Commit:    binary.BigEndian.Uint32(b[48:]),
		Level:     int(binary.BigEndian.Uint32(b[52:])),
		MinTXID:   ltx.TXID(binary.BigEndian.Uint64(b[56:])),
		MaxTXID:   ltx.TXID(binary.BigEndian.Uint64(b[64:])),
		Checksum:  ltx.Checksum(binary.BigEndian.Uint64(b[72:])),
		Timestamp: int64(binary.BigEndian.Uint64(b[80:])),
	}
	if !ltx.IsValidPageSize(s.PageSize) || s.Base > MostBase {
		return fmt.Errorf("%w: its header says page size %d, base %d", ErrDamaged, s.PageSize, uint64(s.Base))
	}
	return nil
}

var errCutOff = errors.New("it is cut off")

// next reads one commit. If there is no complete commit any more, end is the
// reason.
func (s *Segment) next(r io.Reader, fn func(Commit) error) (end, err error) {
	before := s.digest
	c := Commit{Offset: s.end + s.pageHeader()}
	at, end, err := s.readPages(r, &c)
	if end == nil && err == nil {
		end, err = s.readRecord(r, &c)
	}
	if end != nil || err != nil {
		s.digest = before
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			end, err = errCutOff, nil
		}
		return end, err
	}
	s.end = at + commitSize
	return nil, fn(c)
}

// readPages reads the pages of a commit and the first bytes of its commit
// record.
func (s *Segment) readPages(r io.Reader, c *Commit) (at int64, end, err error) {
	head := make([]byte, s.pageHeader())
	page := make([]byte, s.PageSize)
	lock := ltx.LockPgno(s.PageSize)
	at = s.end
	for {
		if _, err := io.ReadFull(r, head[:8]); err != nil {
			return 0, nil, err
		}
		kind, n := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
		if kind != pageRecord {
			if kind != commitRecord || int64(n) != int64(len(c.Pgnos)) {
				return 0, fmt.Errorf("at %d there is neither a page nor the end of a commit", at), nil
			}
			_, _ = s.digest.Write(head[:8])
			return at, nil, nil
		}
		if n == 0 || n == lock || len(c.Pgnos) > 0 && n <= c.Pgnos[len(c.Pgnos)-1] {
			return 0, fmt.Errorf("at %d there is page %d, which cannot be", at, n), nil
		}
		if _, err := io.ReadFull(r, head[8:]); err != nil {
			return 0, nil, err
		}
		if _, err := io.ReadFull(r, page); err != nil {
			return 0, nil, err
		}
		_, _ = s.digest.Write(head)
		off := at + int64(len(head))
		sum := s.pageSum(n, off, page)
		if s.old != nil {
			_, _ = s.digest.Write(page)
			s.old[off] = sum
		} else if sum != binary.BigEndian.Uint64(head[8:]) {
			return 0, s.pageError(n, off), nil
		}
		c.Pgnos = append(c.Pgnos, n)
		at = off + int64(len(page))
	}
}

// readRecord reads the rest of a commit record.
func (s *Segment) readRecord(r io.Reader, c *Commit) (end, err error) {
	var b [commitSize - 8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, err
	}
	rest := len(b) - sumSize
	_, _ = s.digest.Write(b[:rest])
	if s.digest.Sum64() != binary.BigEndian.Uint64(b[rest:]) {
		return errors.New("a commit has another sum"), nil
	}
	_, _ = s.digest.Write(b[rest:])
	c.Size = binary.BigEndian.Uint32(b[:])
	c.Timestamp = int64(binary.BigEndian.Uint64(b[8:]))
	if c.Size == 0 || len(c.Pgnos) > 0 && c.Pgnos[len(c.Pgnos)-1] > c.Size {
		return fmt.Errorf("a commit has pages beyond a size of %d", c.Size), nil
	}
	return nil, nil
}
