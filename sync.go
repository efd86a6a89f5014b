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
	// surely is how long after a look at the replica nobody can have written to
	// it unseen: that takes a file of level 0 to be compacted and deleted.
	surely = 10 * time.Second

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
	case <-w.db.ctx.Done():
		return
	case <-w.kick:
	}
	if failing {
		timer.Reset(min(delay, impatientDelay) - time.Since(start))
		select {
		case <-timer.C:
		case <-w.db.ctx.Done():
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
	if err != nil && w.problem == nil && w.db.ctx.Err() == nil && !errors.Is(err, ErrConflict) {
		w.db.log.Warn("sync failed, and is tried again", "error", err, "bytes", w.unsynced())
	}
	if err == nil && w.problem != nil {
		w.db.log.Info("sync works again")
	}
	if err != nil {
		w.counts.Failures++
	}
	w.problem = err
	w.change()
	if len(w.segments) == 0 || w.db.ctx.Err() != nil {
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
		w.mu.Unlock()
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
		limit += time.Duration(s.bytes/uploadRate) * time.Second
	}
	ctx, cancel := w.db.withTimeout(limit)
	defer cancel()
	if !w.isSure() {
		if err := w.lookAhead(ctx, s); err != nil {
			return err
		}
	}
	start := time.Now()
	e := &encoding{}
	info, err := w.db.store.create(ctx, fileKey{0, s.txid(), s.txid()}, func(dst io.Writer) error {
		*e = encoding{}
		return e.encode(dst, s)
	})
	if errors.Is(err, fs.ErrExist) {
		*e = encoding{}
		if err := e.encode(io.Discard, s); err != nil {
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
	if err := w.verify(ctx, s); err != nil {
		return err
	}
	w.db.log.Debug("synced", "txid", s.txid(), "commits", s.commits, "pages", len(s.pages), "bytes", e.size, "duration", time.Since(start))
	return w.publish(s, e, info)
}

// isSure tells whether nobody can have written unseen since the replica was
// looked at. Not all clocks go on while a machine is suspended.
func (w *writer) isSure() bool {
	at := *w.confirmed.Load()
	return time.Since(at) < surely && time.Now().Round(0).Sub(at.Round(0)) < surely
}

// lookAhead looks whether somebody has written beyond the state that a segment
// changes.
func (w *writer) lookAhead(ctx context.Context, s *segment) error {
	at := time.Now()
	files, err := w.db.store.listAll(ctx, false)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.MaxTXID >= s.txid() && keyOf(f) != (fileKey{0, s.txid(), s.txid()}) {
			return w.lose(fmt.Errorf("%s is there", keyOf(f)))
		}
	}
	if err := w.checkHistory(ctx, files); err != nil {
		return err
	}
	w.confirm(at)
	return nil
}

// checkHistory looks whether files are still of the history that we know.
func (w *writer) checkHistory(ctx context.Context, files []*ltx.FileInfo) error {
	cur := w.db.current.Load()
	if cur.last == nil {
		return nil
	}
	if len(files) == 0 {
		return w.lose(errors.New("the replica was emptied"))
	}
	replaced, err := w.db.isReplaced(ctx, cur, files)
	if err == nil && replaced {
		err = w.lose(errors.New("the replica was begun anew"))
	}
	return err
}

// findOwn looks whether the file that has the name of a segment's is the segment's: its
// upload may have succeeded without our being told.
func (w *writer) findOwn(ctx context.Context, s *segment, e *encoding) (*ltx.FileInfo, error) {
	files, err := w.db.store.list(ctx, 0, s.txid(), false)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if f.MinTXID != s.txid() {
			continue
		}
		if f.MaxTXID == s.txid() && f.Size == e.size {
			sum, err := w.db.store.checksum(ctx, f)
			if err != nil {
				return nil, err
			}
			if sum == e.trailer.FileChecksum {
				return f, nil
			}
		}
		return nil, w.lose(fmt.Errorf("%s is another's", keyOf(f)))
	}
	return nil, fmt.Errorf("%s was there, and is not listed", fileKey{0, s.txid(), s.txid()})
}

// verify looks, after the file of a segment was made, whether the name was not
// merely free again: because the transaction had been another's before, which
// was compacted and deleted.
func (w *writer) verify(ctx context.Context, s *segment) error {
	at := time.Now()
	own := fileKey{0, s.txid(), s.txid()}
	if w.isSure() {
		base := w.db.current.Load().last
		seek := own.minTXID
		if base != nil && base.level == 0 {
			seek = base.minTXID
		}
		files, err := w.db.store.list(ctx, 0, seek, false)
		if err != nil {
			return err
		}
		newer := slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return f.MaxTXID > own.maxTXID })
		if isIn(own, files) && !newer && (seek == own.minTXID || isListed(base, files)) {
			w.confirm(at)
			return nil
		}
	}
	files, err := w.db.store.listAll(ctx, false)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Level > 0 && f.MinTXID <= own.minTXID && f.MaxTXID >= own.maxTXID {
			// Whatever is in there counts. Ours would be a second one.
			err := w.lose(fmt.Errorf("%s is there", keyOf(f)))
			return errors.Join(err, w.db.store.delete(ctx, own))
		}
	}
	others := slices.DeleteFunc(slices.Clone(files), func(f *ltx.FileInfo) bool { return keyOf(f) == own })
	if err := w.checkHistory(ctx, others); err != nil {
		if errors.Is(err, ErrConflict) {
			err = errors.Join(err, w.db.store.delete(ctx, own))
		}
		return err
	}
	if !isIn(own, files) {
		return w.lose(fmt.Errorf("%s was deleted", own))
	}
	w.confirm(at)
	return nil
}

func isIn(k fileKey, files []*ltx.FileInfo) bool {
	return slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return keyOf(f) == k })
}

// publish has views point to the file of a segment, and gives its pages to the other
// tiers.
func (w *writer) publish(s *segment, e *encoding, info *ltx.FileInfo) error {
	f := newLTXFile(info, e.hdr, nil, e.index, e.tail)
	f.setListed(&ltx.FileInfo{Size: info.Size}) // a listing may have another time
	f.checksum = e.trailer.FileChecksum
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
			return err
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
	offering, stop := context.WithTimeout(db.ctx, offerPatience)
	defer stop()
	for _, pgno := range pgnos {
		if loc, ok := next.lookup(pgno); !ok || loc.file != f {
			continue
		}
		page := make([]byte, s.log.PageSize)
		if err := s.read(pgno, page); err != nil {
			return nil // it can be had from the replica
		}
		db.reader.copies.offerSurely(offering, key(pgno), page)
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
		local := w.local.Load()
		rest := w.segments[1:]
		if len(rest) == 0 {
			next.state = local.state
		} else {
			w.db.stampAside(next)
		}
		if !w.db.current.CompareAndSwap(cur, next) {
			continue // pages of it were moved
		}
		w.segments = rest
		if len(rest) == 0 {
			w.local.Store(nil)
		} else {
			v := next
			for _, s := range rest {
				v = v.withSegment(s)
			}
			v.state = local.state
			w.local.Store(v)
		}
		if w.format = s.log.Format; w.format == [2]byte{} {
			w.format = [2]byte{1, 1} // as SQLite wrote it
		}
		w.formatOf = next.state
		return next, w.buffer, nil
	}
}
