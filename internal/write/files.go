package write

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/diskhook"
	"github.com/ltxvfs/litestream/internal/ownfile"
)

// writeBuffer is the set of files that hold segments. They are named like
// WriteBufferPath with a dash and a number at the end, or are temporary files.
// The file at the path itself is locked while the buffer is open. A writeBuffer
// is safe for concurrent use.
type writeBuffer struct {
	path string // empty: temporary files
	log  *slog.Logger
	disk diskhook.Hook
	lock *bufferLock // nil: temporary files

	// mu is held across writes to the local disk. Only commits, and calls that
	// begin or end a segment, wait for it. It is taken before the lock of the
	// queue.
	mu struct {
		sync.Mutex // duty: the files
		closed     bool
		next       uint64                      // number of the next segment
		files      map[uint64]*os.File         // by number
		active     *segment                    // segment of the next commit; nil means a new one
		strangers  map[uint64]bool             // empty files with names of segments, which may not be ours
		unsynced   map[*commitlog.Segment]bool // segments that may not survive power loss

		// doubtful are the unsynced segments of which a sync may have failed. The system
		// says so once, and the next sync succeeds whether or not the data is written.
		doubtful map[*commitlog.Segment]bool
	}
}

// openWriteBuffer opens a buffer. recoverBuffer reads the segments in it.
func openWriteBuffer(path string, log *slog.Logger, disk diskhook.Hook) (*writeBuffer, error) {
	b := &writeBuffer{path: path, log: log, disk: disk}
	b.mu.next = 1
	b.mu.files = make(map[uint64]*os.File)
	b.mu.strangers = make(map[uint64]bool)
	b.mu.unsynced = make(map[*commitlog.Segment]bool)
	b.mu.doubtful = make(map[*commitlog.Segment]bool)
	if path == "" {
		return b, nil
	}
	var err error
	if b.lock, err = openBufferLock(path); err != nil {
		return nil, fmt.Errorf("open write buffer %s: %w", path, err)
	}
	return b, nil
}

// isTemp reports whether the buffer consists of temporary files, which end with
// the process.
func (b *writeBuffer) isTemp() bool { return b.path == "" }

// segmentPath returns the path of a segment.
func (b *writeBuffer) segmentPath(number uint64) string {
	return fmt.Sprintf("%s-%08d", b.path, number)
}

// do runs an operation on the files.
func (b *writeBuffer) do(op string, fn func() error) error { return b.disk.Do(op, fn) }

// create makes the file of a new segment, whose name survives power loss. It is
// called under mu.
func (b *writeBuffer) create(h commitlog.Header) (s *commitlog.Segment, err error) {
	h.Number = b.mu.next
	var f *os.File
	err = b.do("create segment", func() error {
		if b.isTemp() {
			f, err = ownfile.CreateTemp()
		} else {
			f, err = ownfile.Create(b.segmentPath(h.Number))
		}
		return err
	})
	if f != nil {
		b.mu.next++ // even if the file is not used
	}
	if err == nil {
		err = b.do("write header", func() error {
			s, err = commitlog.Create(f, h)
			return err
		})
	}
	if err == nil && !b.isTemp() {
		err = b.do("sync folder", func() error { return ownfile.SyncDir(filepath.Dir(b.path)) })
	}
	if err != nil {
		if f != nil {
			err = errors.Join(err, ownfile.Remove(f, f.Name()), f.Close())
		}
		return nil, fmt.Errorf("create segment of the write buffer: %w", err)
	}
	b.mu.files[h.Number] = f
	return s, nil
}

// remove removes a segment that is on the replica. The file stays open for pinned
// views that have pages in it.
func (b *writeBuffer) remove(s *commitlog.Segment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.mu.files[s.Number]
	if f == nil {
		return nil // the buffer was closed meanwhile
	}
	b.forget(s)
	return b.do("remove segment", func() error { return ownfile.Remove(f, f.Name()) })
}

// close closes all files and gives up the lock. Segments stay where they are.
func (b *writeBuffer) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.closed = true
	var errs []error
	b.mu.active = nil
	for number, f := range b.mu.files {
		if b.isTemp() {
			errs = append(errs, ownfile.Remove(f, f.Name()))
		}
		errs = append(errs, f.Close())
		delete(b.mu.files, number)
	}
	if b.lock != nil {
		n, err := b.list()
		n = slices.DeleteFunc(n, func(number uint64) bool { return b.mu.strangers[number] })
		errs = append(errs, b.lock.close(err == nil && len(n) == 0))
	}
	return errors.Join(errs...)
}
