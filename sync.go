package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

const (
	// uploadRate is what an upload is given time for, bytes a second, on top of
	// ReadTimeout.
	uploadRate = 1 << 20

	// unfinishedDelay is how long a sync waits for a commit to be finished.
	unfinishedDelay = time.Millisecond

	// Delays between syncs that fail.
	firstSyncDelay = 100 * time.Millisecond
	lastSyncDelay  = 30 * time.Second

	// impatientDelay bounds the delay after an error if somebody waits for a sync.
	impatientDelay = time.Second

	// offerPatience is how long a sync waits for hydration to take its pages.
	offerPatience = 2 * time.Second

	// With SyncOnCommit, a sync waits for those to commit again who did so
	// before: up to a part of the time that the last sync took, and gatherMost.
	gatherStep = 500 * time.Microsecond
	gatherPart = 2
	gatherMost = 50 * time.Millisecond
)

// syncAll syncs every WriteSyncInterval, until everything is on the replica.
func (w *writer) syncAll() {
	delay := w.db.opts.WriteSyncInterval
	failed := time.Duration(0) // delay after an error; 0: there was none
	took := time.Duration(0)   // the last sync
	for {
		w.pause(delay, failed > 0)
		if w.db.opts.SyncOnCommit {
			w.gather(took)
		}
		start := time.Now()
		err := w.syncOnce()
		if err == errUnfinished {
			delay = unfinishedDelay
			continue
		}
		took = time.Since(start)
		delay = w.db.opts.WriteSyncInterval
		if err != nil {
			failed = min(max(2*failed, firstSyncDelay), lastSyncDelay)
			delay = failed/2 + rand.N(failed)
		} else {
			failed = 0
		}
		if w.ended(err) {
			return
		}
	}
}

// pause waits until the next sync is due, or somebody waits for it. After an
// error that is no reason to try again at once. A negative delay is for ever.
func (w *writer) pause(delay time.Duration, failing bool) {
	start := time.Now()
	timer := time.NewTimer(max(delay, 0))
	defer timer.Stop()
	due := timer.C
	if delay < 0 {
		due = nil
	}
	select {
	case <-due:
		return
	case <-w.db.tasks.Context().Done():
		return
	case <-w.kick:
	}
	if failing {
		timer.Reset(min(delay, impatientDelay) - time.Since(start))
		select {
		case <-timer.C:
		case <-w.db.tasks.Context().Done():
		}
	}
}

// gather waits until as many wait for a sync as when the last one ended.
func (w *writer) gather(took time.Duration) {
	until := time.Now().Add(min(took/gatherPart, gatherMost))
	for time.Now().Before(until) {
		w.mu.Lock()
		all := w.countWaiting() >= w.expected
		w.mu.Unlock()
		if all {
			return
		}
		time.Sleep(gatherStep)
	}
}

// countWaiting returns how many wait for a sync. Called under mu.
func (w *writer) countWaiting() (n int) {
	for _, k := range w.waiting {
		n += k
	}
	return n
}

// released forgets those who wait for commits that are synced now, and notes
// how many may come back. Called under mu.
func (w *writer) released() {
	w.expected = w.countWaiting()
	maps.DeleteFunc(w.waiting, func(number uint64, _ int) bool { return number <= w.synced })
}

// ended notes how a sync ended, and reports whether there is nothing more to
// do.
func (w *writer) ended(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && w.problem == nil && !w.db.tasks.Closed() && !errors.Is(err, ErrConflict) {
		w.db.log.Warn("sync failed, and is tried again", "error", err, "bytes", w.unsynced())
	}
	if err == nil && w.problem != nil {
		w.db.log.Info("sync works again")
	}
	if err != nil {
		w.counts.Failures++
	}
	w.problem = err
	w.attempts++
	w.change()
	if len(w.segments) == 0 && !w.isDoubtful() || w.db.tasks.Closed() {
		w.running = false
		return true
	}
	return false
}

// errUnfinished means that a commit is just being finished.
var errUnfinished = errors.New("a commit is not finished")

// syncOnce uploads the commits that there are when it begins.
func (w *writer) syncOnce() (err error) {
	defer guard(w.db.log, "sync", &err)
	var of *writeBuffer // that was rotated
	for {
		// The two belong together: at any time write mode may be turned off, once all is
		// synced, and on again with another buffer.
		w.mu.Lock()
		b := w.buffer
		var s *segment
		if b != nil && len(w.segments) > 0 {
			s = w.segments[0]
		}
		doubtful := w.isDoubtful()
		w.mu.Unlock()
		if s == nil && doubtful {
			return w.lookAgain()
		}
		if s == nil {
			return nil
		}
		// While others wait for their upload, the newest may as well grow.
		if b.isActive(s) {
			if of == b {
				return nil // it was begun since
			}
			b.rotate(func(active *segment) bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				return s.open == 0 && active == s
			})
			if b.isActive(s) {
				return errUnfinished
			}
			of = b
		}
		w.mu.Lock()
		open := s.open
		w.mu.Unlock()
		if open > 0 {
			return errUnfinished // though nothing more can be appended, as the disk failed
		}
		if err := w.upload(s); err != nil {
			return err
		}
	}
}

// upload makes a segment a file of the replica.
func (w *writer) upload(s *segment) error {
	limit := w.db.opts.ReadTimeout
	if limit >= 0 {
		limit += timeFor(s.bytes)
	}
	ctx, cancel := w.db.tasks.WithTimeout(limit)
	defer cancel()
	there := false
	if !w.isSure() {
		var err error
		if there, err = w.lookAhead(ctx, s); err != nil {
			return err
		}
	}
	start := time.Now()
	e := &encoding{}
	var info *ltx.FileInfo
	err := fs.ErrExist
	if !there {
		info, err = w.db.store.create(ctx, fileKey{0, s.txid(), s.txid()}, func(dst io.Writer) error {
			*e = encoding{}
			return e.encode(dst, s)
		})
	}
	if errors.Is(err, fs.ErrExist) {
		*e = encoding{}
		if err := e.encode(discard{ctx}, s); err != nil {
			return err
		}
		info, err = w.findOwn(ctx, s, e)
	}
	if err != nil {
		return err
	}
	if info.Size != e.size {
		return fmt.Errorf("upload %s: storage says %d bytes, not %d", keyOf(info), info.Size, e.size)
	}
	if err := w.verify(ctx, s, info); err != nil {
		return err
	}
	w.db.log.Debug("synced", "txid", s.txid(), "commits", s.commits, "pages", len(s.pages), "bytes", e.size, "duration", time.Since(start))
	if err := w.publish(s, e, info); err != nil {
		return err
	}
	w.settle(ctx)
	return nil
}

// discard is a writer that keeps nothing, until its context ends.
type discard struct{ ctx context.Context }

func (d discard) Write(p []byte) (int, error) { return len(p), d.ctx.Err() }

// timeFor returns how long the transfer of so many bytes may take.
func timeFor(bytes int64) time.Duration { return time.Duration(bytes/uploadRate) * time.Second }

// lookAgain looks at all levels, without a segment to upload.
func (w *writer) lookAgain() error {
	ctx, cancel := w.db.tasks.WithTimeout(w.db.opts.ReadTimeout)
	defer cancel()
	if err := w.look(ctx); err != nil {
		return err
	}
	w.settle(ctx)
	return nil
}

// publish has views point to the file of a segment, and gives its pages to the other
// tiers.
func (w *writer) publish(s *segment, e *encoding, info *ltx.FileInfo) error {
	f := newLTXFile(info, e.hdr, e.index, e.tail)
	f.setContent(&ltx.FileInfo{Size: info.Size}, true) // a listing may have another time
	if s.listed != nil && s.listed.Size == info.Size {
		f.setContent(s.listed, true)
	}
	f.setChecksum(e.trailer.FileChecksum, e.ends[0], e.ends[1])
	f.isWhole = true
	db := w.db
	epoch, err := w.epochOf(s)
	if err != nil {
		return fmt.Errorf("publish %s: %w", f, err)
	}
	db.arriving.Add(1)
	defer func() {
		db.arriving.Add(-1)
		db.reader.copies.notify()
	}()
	// Who looks at the next view finds its pages, as nobody had to read them.
	key := func(pgno uint32) pageKey { return pageKey{s.txid(), pgno, epoch} }
	budget := db.opts.CacheSize / 2
	pgnos := slices.Sorted(maps.Keys(s.pages))
	for _, pgno := range pgnos {
		if budget -= int64(s.log.PageSize); budget < 0 {
			break
		}
		page := make([]byte, s.log.PageSize)
		if err := s.read(pgno, page); err != nil {
			break // it was right when it was uploaded, and can be had from there
		}
		db.reader.keep(key(pgno), page)
	}
	next, b, err := w.publishFile(s, f, e.index)
	if err != nil {
		return err
	}
	if b != nil { // else closing gave up waiting; the next process finds the segment on the replica
		if err := b.remove(s.log); err != nil {
			db.log.Warn("a segment of the write buffer was not removed", "error", err)
		}
	}
	w.mu.Lock()
	w.synced = s.last
	w.counts.Syncs++
	w.released()
	w.startCompaction()
	w.change()
	w.mu.Unlock()
	defer w.retire(s) // its pages are needed once more
	if db.reader.copies == nil {
		return nil
	}
	offering, stop := context.WithTimeout(db.tasks.Context(), offerPatience)
	defer stop()
	for _, pgno := range pgnos {
		if loc, ok := next.lookup(pgno); !ok || loc.file != f {
			continue
		}
		page := make([]byte, s.log.PageSize)
		if err := s.read(pgno, page); err != nil {
			return nil // it can be had from the replica
		}
		db.reader.copies.offerSurely(offering, key(pgno), page, true)
	}
	return nil
}

// epochOf returns the epoch of a segment, the first of those that there are: while it is, the
// epoch stays.
func (w *writer) epochOf(s *segment) (uint32, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.db.current.Load().epoch, w.checkFirst(s)
}

// checkFirst returns why a segment is not the first of those that there are any more.
// Called under mu.
func (w *writer) checkFirst(s *segment) error {
	if len(w.segments) == 0 || w.segments[0] != s {
		return cmp.Or(w.lost.err, ErrClosed)
	}
	return nil
}

// publishFile is publish for views.
func (w *writer) publishFile(s *segment, f *ltxFile, index ltxio.Index) (*view, *writeBuffer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.checkFirst(s); err != nil {
		return nil, nil, fmt.Errorf("publish %s: %w", f, err)
	}
	for {
		cur := w.db.current.Load()
		next, err := cur.advance(f, index)
		if err != nil {
			return nil, nil, err
		}
		next.own = true
		local := w.db.local.Load()
		rest := w.segments[1:]
		if len(rest) == 0 {
			next.state = local.state
		} else {
			w.db.newOldState(next)
		}
		if !w.db.current.CompareAndSwap(cur, next) {
			continue // pages of it were moved
		}
		w.segments = rest
		if w.known.files != nil {
			w.known.files = append(slices.Clip(w.known.files), &ltx.FileInfo{MinTXID: f.minTXID, MaxTXID: f.maxTXID, Size: f.size})
		}
		if len(rest) == 0 {
			w.db.local.Store(nil)
		} else {
			v := next
			for _, s := range rest {
				v = v.withSegment(s)
			}
			v.state = local.state
			w.db.local.Store(v)
		}
		if w.format = s.log.Format; w.format == [2]byte{} {
			w.format = [2]byte{1, 1} // as SQLite wrote it
		}
		w.formatOf = next.state
		return next, w.buffer, nil
	}
}
