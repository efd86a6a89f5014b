package litestream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// stateAt returns the view of a transaction if one exists already, nil
// otherwise.
func (x *index) stateAt(txid ltx.TXID) *view.View {
	cur := x.Current.Load()
	if cur.TXID == txid {
		return cur
	}
	if v := x.past.Get(txid); v != nil && v.Epoch == cur.Epoch && !cur.IsDoubtful(txid) {
		return v
	}
	return nil
}

// travelTo returns the state after a transaction.
func (x *index) travelTo(ctx context.Context, target ltx.TXID) (*view.View, error) {
	if v := x.stateAt(target); v != nil {
		return v, nil
	}
	v, err := x.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		return view.PlanTXID(0, target, files)
	})
	if err != nil {
		return nil, fmt.Errorf("travel to transaction %s: %w", target, err)
	}
	return x.past.Add(x.NewOldState(v)), nil
}

// buildPast is build for a state that belongs to the history of the current
// view.
func (x *index) buildPast(ctx context.Context, choose func([]*ltx.FileInfo) ([]*ltx.FileInfo, error)) (*view.View, error) {
	var err error
	for range planAttempts {
		before := x.Current.Load()
		epoch := before.Epoch
		var v *view.View
		var kept pages.Kept
		v, kept, err = x.build(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
			switch now, err := x.epochOf(ctx, before, files); {
			case err != nil:
				return nil, err
			case now != epoch:
				return nil, errs.ErrOvertaken
			}
			plan, err := choose(files)
			if err == nil {
				err = x.settle(ctx, plan)
			}
			return plan, err
		})
		if epoch != x.Current.Load().Epoch || errors.Is(err, errs.ErrOvertaken) {
			continue // the listing or the files may mix both histories
		}
		if err != nil {
			return nil, err
		}
		v.Epoch = epoch
		x.pages.CachePages(v, kept)
		return v, nil
	}
	return nil, cmp.Or(err, errs.ErrOvertaken)
}

// errIsKnown stops the construction of a view that exists already.
var errIsKnown = errors.New("state is known")

// travelToTime returns the state at time t. It is the state after the newest
// transaction with a timestamp of at most t.
func (x *index) travelToTime(ctx context.Context, t time.Time) (*view.View, error) {
	var known *view.View
	var ms int64
	v, err := x.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		p, found, err := view.FindByTime(ctx, view.Points(files), t.UnixMilli(), x.store.Timestamp)
		if err != nil {
			return nil, err
		}
		ms = found
		if known = x.stateAt(p.TXID); known != nil {
			return nil, errIsKnown
		}
		return view.PlanTXID(0, p.TXID, files)
	})
	switch {
	case err == nil:
		v.Timestamp = min(v.Timestamp, ms) // a snapshot carries the time of its creation
		return x.past.Add(x.NewOldState(v)), nil
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
func (x *index) history(ctx context.Context) ([]HistoryPoint, error) {
	files, err := x.store.ListAll(ctx, true)
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
