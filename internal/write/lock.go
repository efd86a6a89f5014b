package write

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/pagefile"
)

// bufferLock is the file at the path of a write buffer. Its lock keeps other
// processes away. Its content says how far commits were acknowledged. After a
// process was killed, a damaged commit can thus be told from one that was only
// written in part.
type bufferLock struct {
	file *pagefile.File

	isOurs bool // an earlier process has left the file, so segments beside it are ours
	begun  bool // write mode has begun

	left watermark // watermark that an earlier process left; zero if there is none
	now  watermark // watermark of this process before its first commit
}

// watermark is the position where the last acknowledged commit ends. It is written
// before COMMIT returns, but not synced: it is exact until the machine restarts,
// and a lower bound after that.
type watermark struct {
	boot   [16]byte // identifier of the machine's start; zero if unknown
	file   uint64   // of ownfile.Identity.InBoot of the lock file; 0 if unknown
	number uint64   // number of the segment; 0 if there is none
	salt   uint64   // salt of the segment
	end    int64    // end of the commit in the segment
}

const (
	lockMagic = "LTXCLOCK"
	lockSize  = len(lockMagic) + 16 + 4*8 + 8
)

func (m watermark) encode() []byte {
	b := append([]byte(lockMagic), m.boot[:]...)
	b = binary.BigEndian.AppendUint64(b, m.file)
	b = binary.BigEndian.AppendUint64(b, m.number)
	b = binary.BigEndian.AppendUint64(b, m.salt)
	b = binary.BigEndian.AppendUint64(b, uint64(m.end))
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// parseWatermark parses the content of a lock file. It returns the zero value if
// the watermark is missing or damaged.
func parseWatermark(b []byte) (m watermark) {
	rest, ok := bytes.CutPrefix(b, []byte(lockMagic))
	if !ok || len(b) < lockSize || xxhash.Sum64(b[:lockSize-8]) != binary.BigEndian.Uint64(b[lockSize-8:]) {
		return watermark{}
	}
	copy(m.boot[:], rest)
	rest = rest[len(m.boot):]
	m.file = binary.BigEndian.Uint64(rest)
	m.number = binary.BigEndian.Uint64(rest[8:])
	m.salt = binary.BigEndian.Uint64(rest[16:])
	m.end = int64(binary.BigEndian.Uint64(rest[24:]))
	return m
}

// bootID returns the identifier of the machine's current start. It is zero where
// the system has none.
var bootID = sync.OnceValue(func() (id [16]byte) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err == nil && len(b) == len(id) {
		id = [16]byte(b)
	}
	return id
})

// openBufferLock opens or creates the file at a path, and locks it. An existing
// file must be ours or empty, and is not changed until begin.
func openBufferLock(path string) (*bufferLock, error) {
	file, err := pagefile.Open(path, ownfile.BeginsWith(lockMagic))
	if errors.Is(err, pagefile.ErrLocked) {
		err = errs.ErrBufferInUse
	}
	if err != nil {
		return nil, err
	}
	l := &bufferLock{file: file, isOurs: file.Size() > 0, now: watermark{boot: bootID()}}
	b := make([]byte, min(file.Size(), int64(lockSize)))
	if err = file.ReadAt(b, 0); err == nil && file.IsNew() {
		err = l.write(watermark{})
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l.left, l.now.file = parseWatermark(b), file.Identity().InBoot()
	return l, nil
}

func (l *bufferLock) write(m watermark) error { return l.file.WriteAt(m.encode(), 0) }

// close gives up the lock. It removes the file if no commits are left to be
// recovered. A file that existed before and was empty is emptied instead.
func (l *bufferLock) close(isEmpty bool) error {
	var err error
	switch isNew := l.file.IsNew(); {
	case !l.begun && isNew, l.begun && isEmpty && (isNew || l.isOurs):
		err = l.file.Remove()
	case l.begun && isEmpty:
		err = l.file.Reset()
	}
	return errors.Join(err, l.file.Close())
}

// acknowledge records that the commits of a segment up to an offset are
// acknowledged, or are about to be.
func (l *bufferLock) acknowledge(s *commitlog.Segment, end int64) error {
	if l == nil {
		return nil
	}
	m := l.now
	m.number, m.salt, m.end = s.Number, s.Salt(), end
	if err := l.write(m); err != nil {
		return fmt.Errorf("record the end of a commit: %w", err)
	}
	return nil
}

// forget drops the watermark that an earlier process left.
func (l *bufferLock) forget() error {
	l.left = watermark{}
	return l.write(l.left)
}

// begin makes the file ours, durably, and starts to record acknowledged commits
// in it. Replayed commits are visible to other connections, so they count as
// acknowledged: last is the segment of the last of them, nil if there are none.
// Number is the highest number of a segment so far.
func (l *bufferLock) begin(last *commitlog.Segment, number uint64) error {
	if l == nil {
		return nil
	}
	l.begun = true
	l.now.number = number
	m := l.now
	if last != nil {
		m.number, m.salt, m.end = last.Number, last.Salt(), last.Size()
	}
	if err := l.write(m); err != nil {
		return err
	}
	return l.file.Sync()
}

// isExact reports whether the watermark that an earlier process left is exact:
// the machine has not restarted since, and the file is not a copy.
func (l *bufferLock) isExact() bool {
	return l.left.boot == l.now.boot && l.now.boot != [16]byte{} &&
		l.left.file == l.now.file && l.now.file != 0
}

// wasAcknowledged reports whether a commit after the last whole one of a segment
// may have been acknowledged. It returns false only if the watermark proves that
// none was.
func (l *bufferLock) wasAcknowledged(s *commitlog.Segment) bool {
	switch {
	case !l.isExact():
		return true
	case s.IsEmpty() && l.left.number < s.Number:
		return false // the process was killed in its first commit
	}
	return l.left.number != s.Number || l.left.salt != s.Salt() || l.left.end != s.Size()
}

// missing returns the number of bytes of acknowledged commits that a segment
// lacks.
func (l *bufferLock) missing(s *commitlog.Segment) int64 {
	if l.left.number != s.Number || l.left.salt != s.Salt() {
		return 0
	}
	return max(l.left.end-s.Size(), 0)
}
