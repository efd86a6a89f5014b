package litestream

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/diskhook"
	"github.com/ltxvfs/litestream/internal/ownfile"
)

// writeBuffer is the files that segments are kept in: beside WriteBufferPath,
// with a dash and a number at the end, or temporary ones. The file at the path
// itself is locked as long as the buffer is open. It is safe for concurrent
// use.
type writeBuffer struct {
	path string // empty: temporary files
	log  *slog.Logger
	disk diskhook.Hook
	lock *bufferLock // nil: temporary files

	// mu is held across writes to the local disk, which only commits, and
	// what begins or ends a segment, wait for.
	mu     sync.Mutex          // duty: the files
	closed bool                // guarded by mu
	next   uint64              // guarded by mu; number of the next segment
	files  map[uint64]*os.File // guarded by mu; by number
	active *segment            // guarded by mu; that commits go to; nil: to a new one

	// strangers are empty files with names of segments that need not be ours;
	// guarded by mu.
	strangers map[uint64]bool

	// unsynced are the segments that may not survive the loss of power; guarded by mu.
	unsynced map[*commitlog.Segment]bool
}

// openWriteBuffer opens a buffer. What it holds is for recoverSegments.
func openWriteBuffer(path string, log *slog.Logger, disk diskhook.Hook) (*writeBuffer, error) {
	b := &writeBuffer{path: path, log: log, disk: disk, next: 1, files: make(map[uint64]*os.File), unsynced: make(map[*commitlog.Segment]bool), strangers: make(map[uint64]bool)}
	if path == "" {
		return b, nil
	}
	var err error
	if b.lock, err = openBufferLock(path); err != nil {
		return nil, fmt.Errorf("open write buffer %s: %w", path, err)
	}
	return b, nil
}

// isTemp tells whether nothing of the buffer outlives the process.
func (b *writeBuffer) isTemp() bool { return b.path == "" }

// segmentPath returns the path of a segment.
func (b *writeBuffer) segmentPath(number uint64) string {
	return fmt.Sprintf("%s-%08d", b.path, number)
}

// do runs an operation on the files.
func (b *writeBuffer) do(op string, fn func() error) error { return b.disk.Do(op, fn) }

// numbers returns the segments that are there, in order.
func (b *writeBuffer) numbers() ([]uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list()
}

// list is numbers, under mu.
func (b *writeBuffer) list() ([]uint64, error) {
	if b.isTemp() {
		return nil, nil
	}
	entries, err := os.ReadDir(filepath.Dir(b.path))
	if err != nil {
		return nil, fmt.Errorf("list write buffer: %w", err)
	}
	var all []uint64
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), filepath.Base(b.path)+"-")
		if n, err := strconv.ParseUint(text, 10, 64); ok && err == nil && filepath.Base(b.segmentPath(n)) == e.Name() {
			all = append(all, n)
			b.next = max(b.next, n+1)
		}
	}
	slices.Sort(all)
	return all, nil
}

// open reads a segment that an earlier process left. The tail is what follows
// its last commit.
func (b *writeBuffer) open(number uint64, fn func(commitlog.Commit) error) (s *commitlog.Segment, tail commitlog.Tail, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, err := ownfile.Open(b.segmentPath(number), os.O_RDWR, nil)
	if err != nil {
		return nil, tail, err
	}
	s, tail, err = commitlog.Open(f, fn)
	if errors.Is(err, commitlog.ErrInvalid) && !b.lock.isOurs {
		err = fmt.Errorf("%w: %w", ownfile.ErrForeign, err) // nothing says that it is not somebody else's
	}
	if err == nil && s.Number != number {
		err = fmt.Errorf("%w: its header says number %d", commitlog.ErrDamaged, s.Number)
	}
	if err != nil {
		return nil, tail, errors.Join(fmt.Errorf("read %s: %w", f.Name(), err), f.Close())
	}
	if again := b.files[number]; again != nil {
		_ = again.Close() // it was only read
	}
	b.files[number] = f
	return s, tail, nil
}

// begin has commits be added behind those that were replayed, whose segments
// may not survive the loss of power yet: who wrote them need not have synced them.
func (b *writeBuffer) begin(replayed []*segment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.unsynced)
	var last *commitlog.Segment
	for _, s := range replayed {
		last = s.log
		b.unsynced[last] = true
	}
	return b.do("begin commits", func() error { return b.lock.begin(last, b.next-1) })
}

// append adds a commit to the active segment, or to a new one that begins with
// header, and sets its offset. Durable has it survive the loss of power.
// Appended is called with the segment, before it can be rotated, and may refuse
// the commit, which is taken back then.
func (b *writeBuffer) append(c *commitlog.Commit, durable bool, header func() commitlog.Header, page func(i int, p []byte) error, appended func(*segment, mark) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return ErrClosed
	}
	if b.active == nil {
		log, err := b.create(header())
		if err != nil {
			return err
		}
		b.active = newSegment(log)
	}
	log := b.active.log
	m := markOf(log)
	err := b.do("append commit", func() error { return log.Append(c, page) })
	if err == nil && !b.isTemp() {
		b.unsynced[log] = true
		if durable {
			err = b.syncLogs()
		}
	}
	if err == nil {
		err = b.do("note commit", func() error { return b.lock.acknowledge(log, log.Size()) })
	}
	if err == nil {
		err = appended(b.active, m)
	}
	if err != nil {
		if log.Size() > m.size {
			_ = b.lock.acknowledge(log, m.size)
			_ = log.Undo(m.size, m.digest) // what fails is to cut the file off, and it is written over
		}
		b.dropEmpty(log)
		return fmt.Errorf("write commit to the write buffer: %w", err)
	}
	return nil
}

// syncLogs has all that was appended survive the loss of power: a commit is of
// no use without those before it. Called under mu.
func (b *writeBuffer) syncLogs() error {
	for log := range b.unsynced {
		if err := b.do("sync segment", log.Sync); err != nil {
			// What the system did not write once it may never write.
			b.active = nil
			return err
		}
		delete(b.unsynced, log)
	}
	return nil
}

// mark is a place in a segment that commits can be taken back to.
type mark struct {
	size   int64
	digest xxhash.Digest
}

func markOf(log *commitlog.Segment) (m mark) {
	m.size, m.digest = log.Mark()
	return m
}

// undo takes back what was appended to a segment since a mark.
func (b *writeBuffer) undo(s *segment, m mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		_ = b.lock.acknowledge(s.log, m.size)
		_ = b.do("undo commit", func() error { return s.log.Undo(m.size, m.digest) }) // as above
		b.dropEmpty(s.log)
	}
}

// dropEmpty removes a segment without commits: by the time of the next, another
// header may be right. Called under mu.
func (b *writeBuffer) dropEmpty(log *commitlog.Segment) {
	f := b.files[log.Number]
	if !log.IsEmpty() || f == nil {
		return
	}
	if b.active != nil && b.active.log == log {
		b.active = nil
	}
	delete(b.files, log.Number)
	delete(b.unsynced, log)
	if err := errors.Join(b.do("remove segment", func() error { return ownfile.Remove(f, f.Name()) }), f.Close()); err != nil {
		b.log.Warn("an empty segment of the write buffer was not removed", "error", err)
	}
}

// rotate has the next commits go to another segment, if may allows it.
func (b *writeBuffer) rotate(may func(active *segment) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.active != nil && may(b.active) {
		b.active = nil
	}
}

// isActive tells whether a segment may get more commits.
func (b *writeBuffer) isActive(s *segment) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.active == s
}

// create makes the file of a new segment, durable if commits are to be. Called
// under mu.
func (b *writeBuffer) create(h commitlog.Header) (s *commitlog.Segment, err error) {
	h.Number = b.next
	var f *os.File
	err = b.do("create segment", func() error {
		if b.isTemp() {
			f, err = os.CreateTemp("", "litestream-*.tmp")
		} else {
			f, err = ownfile.Create(b.segmentPath(h.Number))
		}
		return err
	})
	if f != nil {
		b.next++ // whatever becomes of the file
	}
	if err == nil && b.isTemp() {
		_ = os.Remove(f.Name()) // if that cannot be, remove does it
	}
	if err == nil {
		err = b.do("write header", func() error {
			s, err = commitlog.Create(f, h)
			return err
		})
	}
	if err == nil && !b.isTemp() {
		err = b.do("sync folder", func() error { return syncDir(filepath.Dir(b.path)) })
	}
	if err != nil {
		if f != nil {
			err = errors.Join(err, ownfile.Remove(f, f.Name()), f.Close())
		}
		return nil, fmt.Errorf("create segment of the write buffer: %w", err)
	}
	b.files[h.Number] = f
	return s, nil
}

// remove removes a segment that is on the replica. Views that are pinned may
// go on reading it: the file is closed when the last is gone.
func (b *writeBuffer) remove(s *commitlog.Segment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.files[s.Number]
	if f == nil {
		return nil // it was closed meanwhile
	}
	delete(b.files, s.Number)
	delete(b.unsynced, s)
	return b.do("remove segment", func() error { return ownfile.Remove(f, f.Name()) })
}

// ignore leaves an empty file alone that need not be ours.
func (b *writeBuffer) ignore(number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strangers[number] = true
}

// removeNumber removes a segment that an earlier process left, and that nobody
// reads.
func (b *writeBuffer) removeNumber(number uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.files[number]
	if f == nil { // there is no header
		return b.do("remove segment", func() error {
			return ownfile.RemoveOwn(b.segmentPath(number), func(f *os.File, _ fs.FileInfo) error {
				_, _, err := commitlog.Open(f, func(commitlog.Commit) error { return nil })
				if errors.Is(err, commitlog.ErrNoHeader) {
					err = nil
				}
				return err
			})
		})
	}
	delete(b.files, number)
	err := b.do("remove segment", func() error { return ownfile.Remove(f, f.Name()) })
	return errors.Join(err, f.Close())
}

// close closes all files and gives up the lock. Segments stay where they are.
func (b *writeBuffer) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	var errs []error
	b.active = nil
	for number, f := range b.files {
		if b.isTemp() {
			errs = append(errs, ownfile.Remove(f, f.Name()))
		}
		errs = append(errs, f.Close())
		delete(b.files, number)
	}
	if b.lock != nil {
		n, err := b.list()
		n = slices.DeleteFunc(n, func(number uint64) bool { return b.strangers[number] })
		errs = append(errs, b.lock.close(err == nil && len(n) == 0))
	}
	return errors.Join(errs...)
}
