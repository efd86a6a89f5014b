package litestream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// steps goes through the states of a database, one transaction after the other as
// far as the replica tells them apart. One goroutine at a time uses it.
type steps struct {
	*past
	at, ahead step

	// plan has the files that lead on from at, as they were listed. It is empty if
	// that is not known.
	plan []*ltx.FileInfo
}

// step is a state that steps come to.
type step struct {
	*view.View
	live bool // it was published as the newest view
}

// beginSteps returns steps that begin at a state, and its time, which is zero if it
// is unknown. Transaction 0 is the newest one.
func (db *database) beginSteps(ctx context.Context, from HistoryPoint) (s *steps, at time.Time, err error) {
	s = &steps{past: db.past}
	if from.TXID > s.Current.Load().TXID {
		if err := s.refreshAnew(ctx).news; err != nil {
			return nil, at, err
		}
	}
	cur := s.Current.Load()
	switch {
	case from.TXID == 0 && cur.TXID == 0:
		return nil, at, ErrNoDatabase
	case from.TXID == 0:
		s.at = step{cur, true}
	case from.TXID > cur.TXID:
		return nil, at, fmt.Errorf("the replica %w: its newest transaction is %s, and was %s", errs.ErrRolledBack, cur.TXID, from.TXID)
	default:
		v, err := s.travelTo(ctx, from.TXID)
		if err != nil {
			return nil, at, err
		}
		s.at = step{v, false}
	}
	if at, err = s.timeOf(ctx, s.at.View); err != nil {
		return nil, at, err
	}
	if !from.Time.IsZero() && !at.IsZero() && at.UnixMilli() != from.Time.UnixMilli() {
		return nil, at, fmt.Errorf("the replica %w: transaction %s is of %s, and was of %s", errs.ErrRolledBack, from.TXID, formatTime(at), formatTime(from.Time.UTC()))
	}
	return s, at, nil
}

// timeOf returns the time of the newest transaction of a view, zero if only
// snapshots end with it, which have the time of their creation.
func (s *steps) timeOf(ctx context.Context, v *view.View) (time.Time, error) {
	if v.Last.Level != SnapshotLevel {
		return v.Time(), nil
	}
	files, err := s.store.ListAll(ctx, false)
	if err != nil {
		return time.Time{}, err
	}
	for _, f := range files {
		if f.MaxTXID == v.TXID && f.Level != SnapshotLevel {
			ms, err := s.store.Timestamp(ctx, f)
			return time.UnixMilli(ms).UTC(), err
		}
	}
	return time.Time{}, nil
}

// next returns the next state, nil if there is none yet. Advance goes to it.
func (s *steps) next(ctx context.Context) (*view.View, error) {
	cur := s.Current.Load()
	switch {
	case cur.Epoch != s.at.Epoch || cur.TXID < s.at.TXID:
		return nil, s.rolledBack()
	case cur.TXID == s.at.TXID:
		s.at, s.plan = step{cur, true}, nil
		return nil, nil
	case s.at.live && cur.TXID == s.at.TXID+1:
		s.ahead = step{cur, true} // made from the one before and one file
		return cur, nil
	}
	if len(s.plan) == 0 {
		var err error
		if s.plan, err = s.list(ctx); err != nil {
			return nil, err
		}
	}
	v, err := s.load(ctx, s.plan[0])
	s.ahead = step{v, false}
	return v, err
}

// advance goes to the state that next has returned.
func (s *steps) advance() {
	s.at, s.ahead = s.ahead, step{}
	if len(s.plan) > 0 {
		s.plan = s.plan[1:]
	}
}

// forget makes next list the files again.
func (s *steps) forget() { s.plan = nil }

func (s *steps) rolledBack() error {
	return fmt.Errorf("the replica %w or replaced, or nothing tells that it is the same: its newest transaction is %s, and it had %s", errs.ErrRolledBack, s.Current.Load().TXID, s.at.TXID)
}

// list returns the files that lead on from the state.
func (s *steps) list(ctx context.Context) ([]*ltx.FileInfo, error) {
	before := s.Current.Load()
	files, err := s.store.ListAll(ctx, false)
	if err != nil {
		return nil, err
	}
	epoch, err := s.epochOf(ctx, before, files)
	if err != nil {
		return nil, err
	}
	plan := view.Steps(s.at.TXID, files)
	if err := s.settle(ctx, plan); err != nil {
		return nil, err
	}
	switch {
	case epoch != s.at.Epoch || s.Epoch() != s.at.Epoch:
		return nil, s.rolledBack()
	case len(plan) == 0:
		return nil, fmt.Errorf("no file leads on from transaction %s: %w", s.at.TXID, errs.ErrOvertaken)
	}
	return plan, nil
}

// load returns the state that a file leads to.
func (s *steps) load(ctx context.Context, info *ltx.FileInfo) (v *view.View, err error) {
	kept := make(pages.Kept)
	err = s.store.LoadFiles(ctx, []*ltx.FileInfo{info}, func(l *remote.Loaded) error {
		if v, err = s.at.Advance(l.File, l.Index); err == nil {
			kept.Keep(l, s.cacheSize)
		}
		return err
	})
	switch {
	case errors.Is(err, view.ErrDisagrees), err == nil && (v.Epoch != s.at.Epoch || s.Epoch() != s.at.Epoch):
		return nil, s.rolledBack()
	case err != nil:
		return nil, err
	}
	s.NewOldState(v)
	s.pages.CachePages(v, kept)
	return v, nil
}

// renew finds the state anew. If it is not available any more, the error is
// ErrTxNotAvailable.
func (s *steps) renew(ctx context.Context) error {
	files, err := s.store.ListAll(ctx, false)
	if err != nil {
		return err
	}
	var v *view.View
	if _, err = view.PlanTXID(0, s.at.TXID, files); err != nil {
		err = view.NotAvailable(s.at.TXID, files)
	} else {
		v, err = s.travelTo(ctx, s.at.TXID)
	}
	switch {
	case s.Epoch() != s.at.Epoch:
		return s.rolledBack()
	case err != nil:
		return fmt.Errorf("go on from transaction %s: %w", s.at.TXID, err)
	}
	s.at, s.plan = step{v, false}, nil
	return nil
}
