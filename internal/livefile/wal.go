package livefile

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The format of a WAL: https://sqlite.org/walformat.html
const (
	walHeaderSize      = 32
	walFrameHeaderSize = 24
	walMagic           = 0x377f0682 // the lowest bit says that checksums are of big-endian words
	walVersion         = 3007000
)

// errWAL means that a WAL does not have the frames that it should have.
var errWAL = errors.New("WAL is damaged, or was begun anew")

// walFrame is the newest frame of a page.
type walFrame struct{ pgno, frame uint32 }

// walIndex says where the pages of a WAL are.
type walIndex struct {
	frames []walFrame // by page number
	commit uint32     // pages of the database after the last commit
}

// readWAL reads the first n frames of a WAL, the last of which ends a transaction. It
// compares salts and checksums, as SQLite does when it recovers a database.
func readWAL(r io.ReaderAt, pageSize, n uint32) (*walIndex, error) {
	var header [walHeaderSize]byte
	if err := readFull(r, header[:], 0); err != nil {
		return nil, fmt.Errorf("%w: read header: %w", errWAL, err)
	}
	be := binary.BigEndian
	magic := be.Uint32(header[:])
	if magic&^1 != walMagic || be.Uint32(header[4:]) != walVersion || be.Uint32(header[8:]) != pageSize {
		return nil, fmt.Errorf("%w: header %x, want pages of %d bytes", errWAL, header[:12], pageSize)
	}
	var order binary.ByteOrder = binary.LittleEndian
	if magic&1 != 0 {
		order = be
	}
	var sum walSum
	sum.add(order, header[:24])
	if !sum.is(header[24:]) {
		return nil, fmt.Errorf("%w: the checksum of the header is wrong", errWAL)
	}

	frameSize := walFrameHeaderSize + int(pageSize)
	chunk := make([]byte, max(1<<20/frameSize, 1)*frameSize)
	x := &walIndex{frames: make([]walFrame, 0, n)}
	for done := uint32(0); done < n; {
		some := chunk[:min(len(chunk)/frameSize, int(n-done))*frameSize]
		if err := readFull(r, some, walOffset(done+1, pageSize)); err != nil {
			return nil, fmt.Errorf("%w: read frame %d: %w", errWAL, done+1, err)
		}
		for ; len(some) > 0; some = some[frameSize:] {
			done++
			frame := some[:frameSize]
			sum.add(order, frame[:8])
			sum.add(order, frame[walFrameHeaderSize:])
			pgno := be.Uint32(frame)
			if pgno == 0 || string(frame[8:16]) != string(header[16:24]) || !sum.is(frame[16:]) {
				return nil, fmt.Errorf("%w: frame %d of %d", errWAL, done, n)
			}
			x.frames = append(x.frames, walFrame{pgno, done})
			x.commit = be.Uint32(frame[4:])
		}
	}
	if x.commit == 0 {
		return nil, fmt.Errorf("%w: frame %d does not end a transaction", errWAL, n)
	}
	x.keepNewest()
	return x, nil
}

// keepNewest sorts the frames, and removes all but the newest one of each page.
func (x *walIndex) keepNewest() {
	slices.SortFunc(x.frames, func(a, b walFrame) int {
		return cmp.Or(cmp.Compare(a.pgno, b.pgno), cmp.Compare(b.frame, a.frame))
	})
	x.frames = slices.CompactFunc(x.frames, func(a, b walFrame) bool { return a.pgno == b.pgno })
}

// between returns the frames of pages from first to before end.
func (x *walIndex) between(first, end uint32) []walFrame {
	from, _ := slices.BinarySearchFunc(x.frames, first, compareFrame)
	to, _ := slices.BinarySearchFunc(x.frames, end, compareFrame)
	return x.frames[from:to]
}

func compareFrame(f walFrame, pgno uint32) int { return cmp.Compare(f.pgno, pgno) }

// walOffset returns the offset of a frame, which are counted from 1.
func walOffset(frame, pageSize uint32) int64 {
	return walHeaderSize + int64(frame-1)*(walFrameHeaderSize+int64(pageSize))
}

// walSum is the checksum of a WAL up to some frame.
type walSum struct{ s0, s1 uint32 }

// add adds bytes, the number of which is a multiple of 8.
func (s *walSum) add(order binary.ByteOrder, b []byte) {
	s0, s1 := s.s0, s.s1
	if order == binary.LittleEndian {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.LittleEndian.Uint32(b) + s1
			s1 += binary.LittleEndian.Uint32(b[4:]) + s0
		}
	} else {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.BigEndian.Uint32(b) + s1
			s1 += binary.BigEndian.Uint32(b[4:]) + s0
		}
	}
	s.s0, s.s1 = s0, s1
}

// is reports whether the checksum is the one at the start of b.
func (s *walSum) is(b []byte) bool {
	return binary.BigEndian.Uint32(b) == s.s0 && binary.BigEndian.Uint32(b[4:]) == s.s1
}
