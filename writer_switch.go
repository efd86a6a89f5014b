package litestream

import (
	"context"
	"errors"
	"fmt"
)

// take waits for the turn to switch write mode, which is given back with done.
func (w *writer) take(ctx context.Context) (done func(), err error) {
	select {
	case w.turn <- struct{}{}:
		return func() { <-w.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// enable turns write mode on, and takes up what an earlier process left in the
// write buffer.
func (w *writer) enable(ctx context.Context) error {
	done, err := w.take(ctx)
	if err != nil {
		return fmt.Errorf("turn write mode on: %w", err)
	}
	defer done()
	w.mu.Lock()
	on := w.buffer != nil
	w.mu.Unlock()
	if on {
		return nil
	}
	if err := w.start(ctx); err != nil {
		return fmt.Errorf("turn write mode on: %w", err)
	}
	return nil
}

func (w *writer) start(ctx context.Context) error {
	db := w.db
	if !w.isSure() {
		seen := db.refresh(ctx)
		if seen.news != nil {
			return seen.news
		}
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
	if cur.state != base.state {
		return errOvertaken
	}
	w.buffer, w.stopping = b, false
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
		w.local.Store(w.db.stamp(v))
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
	err = w.awaitEnd(ctx)
	if err == nil {
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
	w.stopping = true
	w.mu.Unlock()
	err := w.sync(ctx)
	w.mu.Lock()
	b, segments := w.buffer, w.segments
	w.buffer = nil
	w.change()
	w.mu.Unlock()
	if b == nil {
		return err
	}
	if len(segments) > 0 {
		path := b.path
		var kerr error
		if b.isTemp() {
			path, kerr = b.keepAside(logsOf(segments))
		}
		w.db.log.Error("commits are not on the replica; open the database with this path for the write buffer to sync them",
			"kept", path, "error", err)
		err = errors.Join(err, kerr)
	}
	return errors.Join(err, b.close())
}
