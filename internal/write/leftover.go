package write

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ownfile"
)

// numbers returns the numbers of all segments, in ascending order.
func (b *writeBuffer) numbers() ([]uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list()
}

// list implements numbers. It is called under mu.
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
			b.mu.next = max(b.mu.next, n+1)
		}
	}
	slices.Sort(all)
	return all, nil
}

// open reads a segment that an earlier process left, and calls fn for each of its
// commits. The tail describes the bytes after the last commit.
func (b *writeBuffer) open(number uint64, fn func(commitlog.Commit) error) (s *commitlog.Segment, tail commitlog.Tail, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, err := ownfile.Open(b.segmentPath(number), os.O_RDWR, nil)
	if err != nil {
		return nil, tail, err
	}
	s, tail, err = commitlog.Open(f, fn)
	if errors.Is(err, commitlog.ErrInvalid) && !b.lock.isOurs {
		err = fmt.Errorf("%w: %w", ownfile.ErrForeign, err) // it may not be a segment of ours
	}
	if err == nil && s.Number != number {
		err = fmt.Errorf("%w: the header has number %d", commitlog.ErrDamaged, s.Number)
	}
	if err != nil {
		return nil, tail, errors.Join(fmt.Errorf("read %s: %w", f.Name(), err), f.Close())
	}
	if again := b.mu.files[number]; again != nil {
		_ = again.Close() // it was only read
	}
	b.mu.files[number] = f
	return s, tail, nil
}

// ignore leaves an empty file out of the segments, because it may not be ours.
func (b *writeBuffer) ignore(number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.strangers[number] = true
}

// removeNumber removes a segment that an earlier process left and that no view has
// pages in.
func (b *writeBuffer) removeNumber(number uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.mu.files[number]
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
	delete(b.mu.files, number)
	err := b.do("remove segment", func() error { return ownfile.Remove(f, f.Name()) })
	return errors.Join(err, f.Close())
}

// begin prepares the buffer for new commits after the replayed ones. The process
// that wrote the replayed commits may not have synced them, or a sync of it may have
// failed, so their segments may not survive power loss yet.
func (b *writeBuffer) begin(replayed []*segment) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.mu.unsynced)
	clear(b.mu.doubtful)
	var last *commitlog.Segment
	for _, s := range replayed {
		last = s.log
		b.mu.unsynced[last], b.mu.doubtful[last] = true, true
	}
	return b.do("begin commits", func() error { return b.lock.begin(last, b.mu.next-1) })
}
