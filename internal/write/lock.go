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
// processes off. Its content says how far commits were acknowledged: after a
// process was killed, that tells a commit that was damaged from one that was
// never written whole.
type bufferLock struct {
	file *pagefile.File

	isOurs bool // an earlier process has left it, so segments beside it are ours
	begun  bool // write mode has begun with it

	left watermark // that an earlier process left; the zero value: none
	now  watermark // of this process before its first commit
}

// watermark is where the last acknowledged commit ends. It is written before
// COMMIT returns, and not synced: it is exact as long as the machine has not
// been started again, and a lower bound after that.
type watermark struct {
	boot   [16]byte // of the machine; zero: not known
	file   uint64   // of the lock file in its file system; 0: not known
	number uint64   // of the segment; 0: there is none
	salt   uint64   // of the segment
	end    int64    // of the commit in the segment
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
// there is no watermark, or it is damaged.
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

// bootID returns an identifier of this start of the machine, zero where the
// system has none.
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

// openBufferLock opens the file at a path, or makes it, and locks it. A file
// that is there must be ours or empty. It stays as it is until begin.
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
	var info os.FileInfo
	if err == nil {
		info, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	l.left, l.now.file = parseWatermark(b), ownfile.Number(info)
	return l, nil
}

func (l *bufferLock) write(m watermark) error { return l.file.WriteAt(m.encode(), 0) }

// close gives up the lock. The file is removed if nothing is left to be
// recovered. If it was there before and empty, it is made empty again.
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

// acknowledge notes that the commits of a segment up to an offset are, or are
// about to be, acknowledged.
func (l *bufferLock) acknowledge(s *commitlog.Segment, end int64) error {
	if l == nil {
		return nil
	}
	m := l.now
	m.number, m.salt, m.end = s.Number, s.Salt(), end
	if err := l.write(m); err != nil {
		return fmt.Errorf("note the end of a commit: %w", err)
	}
	return nil
}

// forget notes that nothing is known of the commits that an earlier process
// left.
func (l *bufferLock) forget() error {
	l.left = watermark{}
	return l.write(l.left)
}

// begin makes the file ours, also after the loss of power, and notes that from
// now on it says which commits are acknowledged. Commits that were replayed can
// be seen by other connections, so they count as acknowledged: last is the
// segment of the last of them, nil if there are none. Number is the number of the
// last segment that there was.
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
// the machine was not started again since, and the file is not a copy.
func (l *bufferLock) isExact() bool {
	return l.left.boot == l.now.boot && l.now.boot != [16]byte{} &&
		l.left.file == l.now.file && l.now.file != 0
}

// wasAcknowledged reports whether a commit behind the last whole one of a segment
// may have been acknowledged. It is false only if that is proven.
func (l *bufferLock) wasAcknowledged(s *commitlog.Segment) bool {
	switch {
	case !l.isExact():
		return true
	case s.IsEmpty() && l.left.number < s.Number:
		return false // the process was killed in its first commit
	}
	return l.left.number != s.Number || l.left.salt != s.Salt() || l.left.end != s.Size()
}

// missing returns how many bytes of acknowledged commits a segment lacks.
func (l *bufferLock) missing(s *commitlog.Segment) int64 {
	if l.left.number != s.Number || l.left.salt != s.Salt() {
		return 0
	}
	return max(l.left.end-s.Size(), 0)
}
