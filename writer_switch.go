package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// take waits for the turn to switch write mode, which is given back with done.
func (w *writer) take(ctx context.Context) (done func(), err error) {
	done = func() { <-w.turn }
	select {
	case w.turn <- struct{}{}: // though ctx may be done
		return done, nil
	default:
	}
	select {
	case w.turn <- struct{}{}:
		return done, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// enable turns write mode on, and takes up what an earlier process left in the
// write buffer. CatchUp is to be false for a database that was just opened.
func (w *writer) enable(ctx context.Context, catchUp bool) error {
	done, err := w.take(ctx)
	if err != nil {
		return fmt.Errorf("turn write mode on: %w", err)
	}
	defer done()
	w.mu.Lock()
	on, closed, owner := w.buffer != nil, w.closed, w.owner
	w.mu.Unlock()
	switch {
	case closed:
		err = ErrClosed
	case on:
		return nil
	case owner != nil:
		err = fmt.Errorf("%w: a transaction from before write mode ended is under way", errBusy)
	default:
		err = w.start(ctx, catchUp)
	}
	if err != nil {
		return fmt.Errorf("turn write mode on: %w", err)
	}
	return nil
}

func (w *writer) start(ctx context.Context, catchUp bool) error {
	db := w.db
	if catchUp {
		at := time.Now()
		seen := db.refresh(ctx)
		if seen.news != nil {
			return seen.news
		}
		w.confirm(at)
	}
	if _, ok := db.store.client.(LTXFileCreator); !ok {
		db.log.Warn("the replica client cannot create a file only if there is none: two writers may not notice each other at once")
	}
	b, err := openWriteBuffer(db.opts.WriteBufferPath, db.log, db.opts.onDisk)
	if err != nil {
		return err
	}
	for range planAttempts {
		var r *recovery
		base := db.current.Load()
		if r, err = recoverBuffer(ctx, db, b, base); err != nil {
			break
		}
		if err = w.takeUp(b, base, r); err != errOvertaken {
			break
		}
	}
	if err != nil {
		return errors.Join(err, b.close())
	}
	return nil
}

// takeUp begins write mode with what was recovered for a state of the replica.
func (w *writer) takeUp(b *writeBuffer, base *view, r *recovery) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	cur := w.db.current.Load()
	switch {
	case w.closed:
		return ErrClosed
	case cur.state != base.state:
		return errOvertaken
	}
	w.buffer, w.stopping, w.known = b, false, known{files: w.known.files, others: w.known.others, at: w.known.at}
	w.lost.err = nil
	if len(r.segments) > 0 {
		v := cur
		for _, s := range r.segments {
			w.number += uint64(s.commits)
			w.counts.Recovered += int64(s.commits)
			s.number(w.number)
			w.finished = w.number
			v = v.withSegment(s)
		}
		if cur.pageSize == 0 {
			w.db.reader.cache.Store(newPageCache(w.db.opts.CacheSize, v.pageSize))
		}
		w.segments = r.segments
		w.db.local.Store(w.db.newState(v))
		w.startSync()
	}
	w.change()
	return nil
}

// disable turns write mode off, once the transaction that is under way has
// ended and everything is on the replica.
func (w *writer) disable(ctx context.Context) error {
	done, err := w.take(ctx)
	if err != nil {
		return fmt.Errorf("turn write mode off: %w", err)
	}
	defer done()
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	if err = w.awaitEnd(ctx); err == nil {
		err = w.sync(ctx)
	}
	w.mu.Lock()
	b := w.buffer
	w.stopping = false
	if err == nil {
		w.buffer = nil
	}
	w.change()
	w.mu.Unlock()
	if err != nil {
		return fmt.Errorf("turn write mode off: %w", err)
	}
	if b == nil {
		return nil
	}
	w.db.poller.wake()
	return b.close()
}

// awaitEnd waits until nobody writes.
func (w *writer) awaitEnd(ctx context.Context) error {
	for {
		w.mu.Lock()
		busy, changed := w.owner != nil, w.changed
		w.mu.Unlock()
		if !busy {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("a transaction is under way: %w", ctx.Err())
		}
	}
}

// close syncs, and ends write mode with the database. What cannot be synced is
// kept.
func (w *writer) close(ctx context.Context) error {
	w.mu.Lock()
	w.stopping, w.closed = true, true
	w.mu.Unlock()
	done, err := w.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	var b *writeBuffer
	var segments []*segment
	var undo func(*writeBuffer)
	for ended := false; !ended; {
		err = w.awaitFinished(ctx)
		if serr := w.sync(ctx); err == nil {
			err = serr
		}
		w.mu.Lock()
		// Who was writing when it began may have committed since.
		ended = err != nil || !w.isHalfDone() && len(w.segments) == 0
		if ended {
			b, segments, undo = w.buffer, w.segments, w.unfinished()
			err = cmp.Or(err, w.known.hole)
			w.buffer = nil
			w.change()
		}
		w.mu.Unlock()
	}
	if b == nil {
		return err
	}
	undo(b)
	if len(segments) > 0 {
		path := b.path
		var kerr error
		if b.isTemp() {
			path, kerr = b.keepAside(toKeep(segments))
		}
		w.db.log.Error("commits are not on the replica; open the database with this path for the write buffer to sync them",
			"kept", path, "error", err)
		err = errors.Join(err, kerr)
	}
	return errors.Join(err, b.close())
}

// awaitFinished waits until no commit is half done.
func (w *writer) awaitFinished(ctx context.Context) error {
	for {
		w.mu.Lock()
		halfDone, changed := w.isHalfDone(), w.changed
		w.mu.Unlock()
		if !halfDone {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("a commit is under way: %w", ctx.Err())
		}
	}
}
