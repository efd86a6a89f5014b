package litestream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// awaitTXID waits until transaction txid of the replica is visible to new
// transactions of this process, or ctx ends.
func (db *database) awaitTXID(ctx context.Context, txid ltx.TXID) error {
	ok, problem := db.awaitView(ctx, awaited{wanted: func(v *view.View) bool { return v.TXID >= txid }, exists: true, lasting: []error{ErrClosed}})
	if ok {
		return nil
	}
	err := fmt.Errorf("wait for transaction %s: the newest is %s: %w", txid, db.Current.Load().TXID, errs.ErrTxNotAvailable)
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) && problem == nil {
		return err
	}
	return errors.Join(err, context.Cause(ctx), problem)
}

// awaited is the view that awaitView waits for.
type awaited struct {
	wanted func(*view.View) bool

	// exists is true if the caller was told that the replica has such a view. If the
	// first poll, which may ask for the next file by its name, does not find it, the
	// files that lead to it may have been merged and deleted, so the second poll lists
	// all levels.
	exists bool

	lasting []error // errors of a poll that end the wait
}

// awaitView waits until the newest view of the replica is one that is wanted, and
// reports whether it is. It stops when ctx ends, or when a poll ends with one of the
// lasting errors; then the problem is the error of the last poll that has ended. It
// polls at once, then at every poll interval, also if polling is disabled, and when
// another process with the same local file knows of news. So it sees the view as soon
// as a running poller would. It does not believe polls of that process, which may be
// older than the call.
func (db *database) awaitView(ctx context.Context, w awaited) (ok bool, problem error) {
	interval := db.opts.PollInterval
	if interval < 0 {
		interval = DefaultPollInterval
	}
	for n := 0; ; n++ {
		if w.wanted(db.Current.Load()) {
			return true, nil
		}
		news := db.poller.news.Next()
		full := w.exists && n == 1
		_, err := db.share(ctx, fmt.Sprint("poll, full: ", full), func(context.Context) (any, error) { return nil, db.poller.look(full) })
		goesOn := ctx.Err() != nil && errors.Is(err, ctx.Err()) // the poll goes on without this wait
		if !goesOn {
			problem = err
		}
		switch {
		case w.wanted(db.Current.Load()) && (goesOn || err == nil):
			return true, nil
		case slices.ContainsFunc(w.lasting, func(e error) bool { return errors.Is(err, e) }):
			return false, problem
		}
		pause := interval
		if deadline, limited := ctx.Deadline(); limited && w.exists && n == 0 {
			pause = min(pause, time.Until(deadline)/2)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-news:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return false, problem
		}
	}
}

// wait is PRAGMA litestream_wait. The value is a transaction, and then a limit
// in seconds or as a duration, which is ReadTimeout if it is missing.
func (c *Conn) wait(s string) error {
	text, limitText, limited := strings.Cut(strings.TrimSpace(s), " ")
	txid, err := parseTXID(text)
	if err != nil {
		return err
	}
	limit := c.db.opts.ReadTimeout
	if limited {
		if limit, err = parseLimit(limitText); err != nil {
			return err
		}
	}
	if c.state != connIdle {
		return ErrInTransaction
	}
	ctx, cancel := c.waiting(limit)
	defer cancel()
	return c.db.awaitTXID(ctx, txid)
}

// parseLimit reads the limit of a wait.
func parseLimit(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%w: limit %q, want a number of seconds or a duration like 500ms", errInvalidValue, s)
	}
	return d, nil
}

// parseTXID reads a transaction id.
func parseTXID(s string) (ltx.TXID, error) {
	txid, err := ltx.ParseTXID(strings.ToLower(s))
	if err != nil || txid == 0 {
		return 0, fmt.Errorf("%w: %q is no transaction id of 16 hex digits", errInvalidValue, s)
	}
	return txid, nil
}
