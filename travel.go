package litestream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// past is the states of a database that connections travel to. It is safe for
// concurrent use.
type past struct {
	*index

	// views are the states in use, so that connections share them.
	views view.Past
}

// stateAt returns the view of a transaction if one exists already, nil
// otherwise.
func (s *past) stateAt(txid ltx.TXID) *view.View {
	cur := s.Current.Load()
	if cur.TXID == txid {
		return cur
	}
	if v := s.views.Get(txid); v != nil && v.Epoch == cur.Epoch && !cur.IsDoubtful(txid) {
		return v
	}
	return nil
}

// travelTo returns the state after a transaction.
func (s *past) travelTo(ctx context.Context, target ltx.TXID) (*view.View, error) {
	if v := s.stateAt(target); v != nil {
		return v, nil
	}
	v, err := s.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		plan, err := view.PlanTXID(0, target, files)
		if errors.Is(err, ErrTxNotAvailable) {
			err = view.NotAvailable(target, files)
		}
		return plan, err
	})
	if err != nil {
		return nil, fmt.Errorf("travel to transaction %s: %w", target, err)
	}
	return s.views.Add(s.NewOldState(v)), nil
}

// buildPast is build for a state that belongs to the history of the current
// view.
func (s *past) buildPast(ctx context.Context, choose func([]*ltx.FileInfo) ([]*ltx.FileInfo, error)) (*view.View, error) {
	var err error
	for range planAttempts {
		before := s.Current.Load()
		epoch := before.Epoch
		var v *view.View
		var kept pages.Kept
		v, kept, err = s.build(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
			switch now, err := s.epochOf(ctx, before, files); {
			case err != nil:
				return nil, err
			case now != epoch:
				return nil, errs.ErrOvertaken
			}
			plan, err := choose(files)
			if err == nil {
				err = s.settle(ctx, plan)
			}
			return plan, err
		})
		if epoch != s.Current.Load().Epoch || errors.Is(err, errs.ErrOvertaken) {
			continue // the listing or the files may mix both histories
		}
		if err != nil {
			return nil, err
		}
		v.Epoch = epoch
		s.pages.CachePages(v, kept)
		return v, nil
	}
	return nil, cmp.Or(err, errs.ErrOvertaken)
}

// errIsKnown stops the construction of a view that exists already.
var errIsKnown = errors.New("state is known")

// travelToTime returns the state at time t. It is the state after the newest
// transaction with a timestamp of at most t.
func (s *past) travelToTime(ctx context.Context, t time.Time) (*view.View, error) {
	var known *view.View
	var ms int64
	v, err := s.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		p, found, err := view.FindByTime(ctx, view.Points(files), t.UnixMilli(), s.store.Timestamp)
		if err != nil {
			return nil, err
		}
		ms = found
		if known = s.stateAt(p.TXID); known != nil {
			return nil, errIsKnown
		}
		return view.PlanTXID(0, p.TXID, files)
	})
	switch {
	case err == nil:
		v.Timestamp = min(v.Timestamp, ms) // a snapshot carries the time of its creation
		return s.views.Add(s.NewOldState(v)), nil
	case errors.Is(err, errIsKnown):
		if ms < known.Timestamp {
			dated := *known
			dated.Timestamp = ms
			return &dated, nil
		}
		return known, nil
	default:
		return nil, fmt.Errorf("travel to %s: %w", t.UTC().Format(time.RFC3339Nano), err)
	}
}

// HistoryPoint is a point in time that can be travelled to. PRAGMA
// litestream_history returns an array of them as JSON.
type HistoryPoint struct {
	TXID ltx.TXID  `json:"txid"`
	Time time.Time `json:"time"`
}

// MarshalJSON formats the time as PRAGMA litestream_time does, so that the two
// can be compared as text.
func (p HistoryPoint) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		TXID ltx.TXID `json:"txid"`
		Time string   `json:"time"`
	}{p.TXID, formatTime(p.Time)})
}

// history returns the points that can be travelled to, in ascending order.
// Their times are as accurate as those of a listing.
func (s *past) history(ctx context.Context) ([]HistoryPoint, error) {
	files, err := s.store.ListAll(ctx, true)
	if err != nil {
		return nil, err
	}
	hs := []HistoryPoint{}
	for _, p := range view.Points(files) {
		if p.Reachable {
			hs = append(hs, HistoryPoint{TXID: p.TXID, Time: p.Dated().CreatedAt.UTC()})
		}
	}
	return hs, nil
}

// settle makes sure that the state a plan gives can be told from another
// history later: the current view must know its transactions. If it is unknown
// whether files of the plan end at the transactions that the current view has
// under the same numbers, settle begins another epoch.
func (s *past) settle(ctx context.Context, plan []*ltx.FileInfo) error {
	cur := s.Current.Load()
	doubtful := hasDoubtful(cur, plan)
	if !doubtful && (len(plan) == 0 || plan[len(plan)-1].MaxTXID <= cur.TXID) {
		return nil
	}
	if doubtful {
		ending := int64(cur.Epoch) + 1
		s.ending.Store(ending)
		defer s.ending.CompareAndSwap(ending, 0)
	}
	if err := s.refreshAnew(ctx).err(); err != nil {
		return err
	}
	cur = s.Current.Load()
	if hasDoubtful(cur, plan) {
		return errs.ErrOvertaken
	}
	if len(plan) > 0 && plan[len(plan)-1].MaxTXID > cur.TXID {
		return fmt.Errorf("%s: %w", view.KeyOf(plan[len(plan)-1]), fs.ErrNotExist) // the file was listed a moment ago
	}
	return nil
}
