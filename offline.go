package litestream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/hydrate"
)

// offline says whether a database was opened without storage, and has not heard
// of it since. It is safe for concurrent use.
type offline struct {
	isOffline atomic.Bool
}

// first is what a database is opened with.
type first struct {
	newest
	offline bool // the view comes from the local file
}

// buildFirst builds the view that the database is opened with. A replica without
// files is never opened offline: storage has answered, so the local file does not
// count, also while the open waits for the first files.
func (db *database) buildFirst(ctx context.Context) (f first, err error) {
	if db.mayOpenOffline() {
		f, err = db.buildUnlessSilent(ctx)
	} else {
		f.newest, err = db.buildOnline(ctx)
	}
	if errors.Is(err, ErrNoDatabase) {
		f.newest, err = db.openEmpty(ctx)
	}
	return f, err
}

// buildUnlessSilent builds the newest view of the replica. If storage cannot be
// reached, or nothing of an answer comes for the time OfflineAfter, the view is the
// state of which the local file has every page.
func (db *database) buildUnlessSilent(ctx context.Context) (first, error) {
	online, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type result struct {
		newest
		err error
	}
	done := make(chan result, 1)
	db.tasks.Go(func() {
		n, err := db.buildOnline(online)
		done <- result{n, err}
	})
	timer := time.NewTimer(db.opts.OfflineAfter)
	defer timer.Stop()
	var problem error
	for answers := int64(0); problem == nil; {
		select {
		case r := <-done:
			if r.err == nil || !isUnreachable(r.err) {
				return first{newest: r.newest}, r.err
			}
			problem = r.err
			done <- r
		case <-timer.C:
			before := answers
			if answers = db.store.Answers.Load(); answers == before {
				problem = fmt.Errorf("storage has not answered within %s", db.opts.OfflineAfter)
			}
			timer.Reset(db.opts.OfflineAfter)
		}
	}
	recalled, err := hydrate.Recall(db.opts.HydrationPath, db.owner.Replica)
	if err == nil {
		err = db.useRecalled(recalled)
	}
	if err != nil {
		db.log.Warn("the database cannot be opened offline, and waits for storage", "reason", err)
		r := <-done
		if r.err != nil {
			r.err = fmt.Errorf("%w; and it cannot be opened offline: %w", r.err, err)
		}
		return first{newest: r.newest}, r.err
	}
	cancel(errOffline)
	db.log.Warn("storage does not answer, the database is opened with the local file, which may be outdated",
		"file", db.opts.HydrationPath, "txid", recalled.View.TXID, "newest_at", recalled.Fresh.UTC(), "error", problem)
	return first{newest{view: recalled.View}, true}, nil
}

// useRecalled makes a recalled state the current one, with the local file that has
// its pages.
func (db *database) useRecalled(r *hydrate.Recalled) error {
	db.poller.fresh.Store(r.Fresh.UnixNano())
	db.composePages(r.View.PageSize)
	db.Current.Store(r.View)
	if err := db.hydrator.OpenRecalled(r); err != nil {
		db.Current.Store(nil)
		db.poller.fresh.Store(time.Now().UnixNano())
		return err
	}
	db.isOffline.Store(true)
	db.store.InitLater()
	return nil
}

// errOffline ends the requests of an open that goes on without storage.
var errOffline = errors.New("the database was opened offline")

// mayOpenOffline reports whether the options allow to open without storage.
// Write mode does not: commits may be on the replica, or in a write buffer, that
// the local file lacks.
func (db *database) mayOpenOffline() bool {
	return db.opts.OfflineAfter > 0 && db.opts.HydrationEnabled && db.opts.HydrationPath != "" && !db.opts.WriteEnabled
}

// isUnreachable reports whether an open failed because storage could not be
// asked. Otherwise storage has answered, and the answer counts.
func isUnreachable(err error) bool {
	var missing *MissingError
	return !errs.IsPermanent(err) && !errs.IsMissing(err) && !errors.As(err, &missing) &&
		!errors.Is(err, ErrNoDatabase) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrClosed)
}

// buildOnline builds the newest view of the replica. The error is ErrNoDatabase if it
// has no files.
func (db *database) buildOnline(ctx context.Context) (newest, error) {
	if err := db.store.Init(ctx); err != nil {
		return newest{}, err
	}
	return db.buildNewest(ctx)
}

// pollOnce polls, and notes that storage answers. While this process writes, nothing is
// polled, and an upload shows that storage answers again.
func (db *database) pollOnce(full bool) error {
	err := db.poll(full)
	uploads := db.writer.Status().Counts.Syncs
	switch {
	case !errors.Is(err, errs.ErrWriting):
		db.uploadsPolled.Store(uploads)
	case uploads > db.uploadsPolled.Load():
		err = nil
	}
	if err == nil && db.isOffline.CompareAndSwap(true, false) {
		v := db.Current.Load()
		db.log.Info("storage answers, the database follows the replica again", "txid", v.TXID)
	}
	return err
}
