package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/rowdiff"
	"github.com/ltxvfs/litestream/internal/view"
)

// TailKind says what a TailEvent is.
type TailKind string

// The kinds of events.
const (
	// TailBegin is the first event. It names the state that the changes lead on from.
	TailBegin TailKind = "begin"

	// TailChange is a change.
	TailChange TailKind = "change"

	// TailCommit ends the changes of a transaction: they are complete.
	TailCommit TailKind = "commit"

	// TailRestart says that the changes since the last commit are void. They come
	// again, maybe together with those of later transactions.
	TailRestart TailKind = "restart"
)

// TailEvent is an event of a database that VFS.Tail follows.
type TailEvent struct {
	Kind TailKind

	// First and Last are the transactions that the event is of, inclusive. They are
	// the same unless the replica has no state in between any more, because files
	// were compacted; then the changes are those of all of them together.
	First, Last ltx.TXID

	// Time is the timestamp of transaction Last in UTC, in milliseconds. It is zero if
	// no file has it: snapshots have the time of their creation.
	Time time.Time

	// Change is the change, for TailChange.
	Change Change
}

// Tail returns what each transaction of a database changes, as the transactions
// arrive: for each transaction its changes, in the order of VFS.Changes, and then a
// commit. It goes on until ctx ends, and then the sequence ends with the error of
// ctx.
//
// It begins after transaction from.TXID, which has to be one that can be [travelled
// to], or after the newest one if that is 0. If from.Time is not zero and is not the
// time of that transaction, the error is ErrRolledBack. A program that keeps the
// Last and the Time of the first event, TailBegin, and then those of the last commit
// that it has dealt with, and goes on from there, gets each transaction at least once,
// and never half a transaction. Changes that were not followed by their commit come
// again.
//
// Where the files of single transactions were compacted before Tail has read them,
// several transactions come as one: First and Last of an event say which. If that
// has happened to the transaction that it is to go on from, the error is
// ErrTxNotAvailable. If the replica was rolled back or replaced, it is ErrRolledBack.
// A damaged page is ErrCorrupt. Other errors of storage are logged, and Tail tries
// again, with longer and longer waits up to 30 seconds.
//
// The name is the file name under which the database was opened, or the URL of its
// replica. If it is not open, Tail opens it. It looks for transactions at every
// PollInterval, or each second if that is negative. Without names of tables, all
// tables are followed but those of SQLite itself, whose names begin with sqlite_. If
// the state that it begins with lacks one of the named tables, the error is
// ErrNoTable. It is safe for concurrent use.
//
// [travelled to]: https://github.com/ltxvfs/litestream/blob/main/docs/time-travel.md
func (v *VFS) Tail(ctx context.Context, name string, from HistoryPoint, tables ...string) iter.Seq2[TailEvent, error] {
	return sequence(ctx, v, name, func(db *database, emit func(TailEvent) error) error {
		return fmt.Errorf("tail of %s: %w", db.place, db.tail(ctx, from, tables, emit))
	})
}

// tail calls emit with what happens to a database, until an error.
func (db *database) tail(ctx context.Context, from HistoryPoint, tables []string, emit func(TailEvent) error) error {
	s, began, err := db.beginSteps(ctx, from)
	if err != nil {
		return err
	}
	if err := rowdiff.HasTables(ctx, db.between(s.at.View, s.at.View, nil).state(s.at.View), tables); err != nil {
		return err
	}
	if err := emit(TailEvent{Kind: TailBegin, First: s.at.TXID, Last: s.at.TXID, Time: began}); err != nil {
		return err
	}
	var delay time.Duration // after an error
	for {
		emitted, err := db.tailOnce(ctx, s, tables, emit)
		switch {
		case err == nil:
			delay = 0
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case !mayPass(err):
			return err
		}
		if emitted.Kind == TailChange {
			emitted.Kind, emitted.Change = TailRestart, Change{}
			if err := emit(emitted); err != nil {
				return err
			}
		}
		if errors.Is(err, errs.ErrStateGone) || errs.IsMissing(err) {
			if err := s.renew(ctx); err != nil && !mayPass(err) {
				return err
			}
		}
		s.forget()
		delay = min(max(2*delay, DefaultPollInterval/4), maxPollDelay)
		db.log.Warn("tail failed, and goes on", "after", s.at.TXID, "error", err, "again", delay)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// mayPass reports whether an error of a tail may not come again. Missing
// permissions count, because credentials are renewed.
func mayPass(err error) bool {
	for _, lasting := range []error{
		errStopped, ErrClosed, ErrConflict, ErrCorrupt, ErrTxNotAvailable, fs.ErrInvalid, errors.ErrUnsupported,
	} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return true
}

// tailOnce waits for the next state, and emits its changes. It returns the last
// event that it has emitted.
func (db *database) tailOnce(ctx context.Context, s *steps, tables []string, emit func(TailEvent) error) (last TailEvent, err error) {
	next, err := s.next(ctx)
	if err != nil {
		return last, err
	}
	if next == nil {
		other := func(v *view.View) bool { return v.TXID != s.at.TXID || v.Epoch != s.at.Epoch }
		ok, problem := db.awaitView(ctx, awaited{wanted: other, lasting: []error{ErrClosed, ErrNoDatabase}})
		switch {
		case ok:
			return last, nil
		case errors.Is(problem, ErrNoDatabase):
			return last, fmt.Errorf("the replica %w: it has no files any more, and had transaction %s", ErrRolledBack, s.at.TXID)
		}
		return last, cmp.Or(problem, ctx.Err())
	}
	event := TailEvent{First: s.at.TXID + 1, Last: next.TXID}
	if next.Last.Level != SnapshotLevel {
		event.Time = next.Time()
	}
	send := func(kind TailKind, c Change) error {
		event.Kind, event.Change = kind, c
		err := emit(event)
		if err == nil {
			last = event
		}
		return err
	}
	err = db.between(s.at.View, next, nil).rows(ctx, rowdiff.Options{Tables: tables, MayLack: true}, func(c rowdiff.Change) error {
		return send(TailChange, publicChange(c))
	})
	if err == nil && db.Epoch() != s.at.Epoch {
		err = s.rolledBack()
	}
	if err == nil {
		err = send(TailCommit, Change{})
	}
	if err == nil {
		s.advance()
	}
	return last, err
}
