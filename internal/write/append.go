package write

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ownfile"
)

// append adds a commit to the active segment, or to a new one with the given
// header, and sets the offset of the commit. If durable is set, the commit
// survives power loss. append calls appended with the segment and the mark before
// the commit, while the segment cannot be rotated. If appended fails, append takes
// the commit back.
func (b *writeBuffer) append(c *commitlog.Commit, durable bool, header func() commitlog.Header, page func(i int, p []byte) error, appended func(*segment, mark) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.closed {
		return errs.ErrClosed
	}
	if b.mu.active == nil {
		// A commit that was undone after its sync had failed may still be in its segment.
		// It would be replayed, and the new segment does not follow it.
		for log := range b.mu.doubtful {
			if err := b.do("undo commit", func() error { return log.Undo(log.Mark()) }); err != nil {
				return fmt.Errorf("write commit to the write buffer: %w", err)
			}
		}
		log, err := b.create(header())
		if err != nil {
			return err
		}
		b.mu.active = newSegment(log)
	}
	log := b.mu.active.log
	m := markOf(log)
	err := b.do("append commit", func() error { return log.Append(c, page) })
	if err == nil && !b.isTemp() {
		b.mu.unsynced[log] = true
		if durable {
			err = b.syncLogs()
		}
	}
	if err == nil {
		err = b.do("note commit", func() error { return b.lock.acknowledge(log, log.Size()) })
	}
	if err == nil {
		err = appended(b.mu.active, m)
	}
	if err != nil {
		if log.Size() > m.size {
			b.takeBack(log, m)
		}
		b.dropEmpty(log)
		return fmt.Errorf("write commit to the write buffer: %w", err)
	}
	return nil
}

// syncLogs makes all appended commits survive power loss, because a commit needs
// those before it. It is called under mu.
func (b *writeBuffer) syncLogs() error {
	for _, log := range slices.SortedFunc(maps.Keys(b.mu.unsynced), func(s, t *commitlog.Segment) int { return cmp.Compare(s.Number, t.Number) }) {
		var err error
		if b.mu.doubtful[log] {
			err = b.do("write segment again", log.WriteAgain)
		}
		if err == nil {
			err = b.do("sync segment", log.Sync)
		}
		if err != nil {
			b.mu.active = nil
			b.mu.doubtful[log] = true
			return err
		}
		delete(b.mu.unsynced, log)
		delete(b.mu.doubtful, log)
	}
	return nil
}

// mark is a position in a segment that it can be reset to.
type mark struct {
	size   int64
	digest xxhash.Digest
}

func markOf(log *commitlog.Segment) (m mark) {
	m.size, m.digest = log.Mark()
	return m
}

// undo takes back the commits that were appended to a segment since a mark.
func (b *writeBuffer) undo(s *segment, m mark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.mu.closed {
		b.takeBack(s.log, m)
		b.dropEmpty(s.log)
	}
}

// takeBack cuts off the commits of a segment since a mark. Commits that were durable
// would be replayed after a loss of power, so the cut is durable then, too. It is
// called under mu.
func (b *writeBuffer) takeBack(log *commitlog.Segment, m mark) {
	_ = b.lock.acknowledge(log, m.size)
	_ = b.do("undo commit", func() error { return log.Undo(m.size, m.digest) }) // if the file cannot be cut, the next commit overwrites it
	if b.isTemp() || b.mu.unsynced[log] {
		return
	}
	b.mu.unsynced[log] = true // the next durable commit syncs it if this fails
	if err := b.syncLogs(); err != nil {
		b.log.Warn("a commit that was rolled back may be replayed after a loss of power", "segment", log.Number, "error", err)
	}
}

// dropEmpty removes a segment without commits, because the next commit may need
// another header. It is called under mu.
func (b *writeBuffer) dropEmpty(log *commitlog.Segment) {
	f := b.mu.files[log.Number]
	if !log.IsEmpty() || f == nil {
		return
	}
	if b.mu.active != nil && b.mu.active.log == log {
		b.mu.active = nil
	}
	b.forget(log)
	if err := errors.Join(b.do("remove segment", func() error { return ownfile.Remove(f, f.Name()) }), f.Close()); err != nil {
		b.log.Warn("an empty segment of the write buffer was not removed", "error", err)
	}
}

// forget drops a segment from the maps. It is called under mu.
func (b *writeBuffer) forget(log *commitlog.Segment) {
	delete(b.mu.files, log.Number)
	delete(b.mu.unsynced, log)
	delete(b.mu.doubtful, log)
}

// rotate ends the active segment if may returns true, so that the next commit goes
// to a new one.
func (b *writeBuffer) rotate(may func(active *segment) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.active != nil && may(b.mu.active) {
		b.mu.active = nil
	}
}

// isActive reports whether commits may still be added to a segment.
func (b *writeBuffer) isActive(s *segment) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.active == s
}
