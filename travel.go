package litestream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/superfly/ltx"
)

// stateAt returns the view of a transaction if there is one already.
func (x *index) stateAt(txid ltx.TXID) *view {
	cur := x.current.Load()
	if cur.txid == txid {
		return cur
	}
	if v := x.past.get(txid); v != nil && v.epoch == cur.epoch && !cur.isDoubtful(txid) {
		return v
	}
	return nil
}

// travelTo returns the state after a transaction.
func (x *index) travelTo(ctx context.Context, target ltx.TXID) (*view, error) {
	if v := x.stateAt(target); v != nil {
		return v, nil
	}
	v, err := x.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		return planTXID(0, target, files)
	})
	if err != nil {
		return nil, fmt.Errorf("travel to transaction %s: %w", target, err)
	}
	return x.past.add(x.newOldState(v)), nil
}

// buildPast is build for a state of the history that the current view is of.
func (x *index) buildPast(ctx context.Context, choose func([]*ltx.FileInfo) ([]*ltx.FileInfo, error)) (*view, error) {
	var err error
	for range planAttempts {
		before := x.current.Load()
		epoch := before.epoch
		var v *view
		var pages keptPages
		v, pages, err = x.build(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
			switch now, err := x.epochOf(ctx, before, files); {
			case err != nil:
				return nil, err
			case now != epoch:
				return nil, errOvertaken
			}
			plan, err := choose(files)
			if err == nil {
				err = x.settle(ctx, plan)
			}
			return plan, err
		})
		if epoch != x.current.Load().epoch || errors.Is(err, errOvertaken) {
			continue // what was listed or read may be of both histories
		}
		if err != nil {
			return nil, err
		}
		v.epoch = epoch
		x.pages.cachePages(v, pages)
		return v, nil
	}
	return nil, cmp.Or(err, errOvertaken)
}

// errIsKnown ends the making of a view that is there already.
var errIsKnown = errors.New("state is known")

// travelToTime returns the state as it was at a time: that after the newest
// transaction which is not younger.
func (x *index) travelToTime(ctx context.Context, t time.Time) (*view, error) {
	var known *view
	var ms int64
	v, err := x.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		p, found, err := findByTime(ctx, points(files), t.UnixMilli(), x.store.timestamp)
		if err != nil {
			return nil, err
		}
		ms = found
		if known = x.stateAt(p.txid); known != nil {
			return nil, errIsKnown
		}
		return planTXID(0, p.txid, files)
	})
	switch {
	case err == nil:
		v.timestamp = min(v.timestamp, ms) // a snapshot is stamped when it is made
		return x.past.add(x.newOldState(v)), nil
	case errors.Is(err, errIsKnown):
		if ms < known.timestamp {
			dated := *known
			dated.timestamp = ms
			return &dated, nil
		}
		return known, nil
	default:
		return nil, fmt.Errorf("travel to %s: %w", t.UTC().Format(time.RFC3339Nano), err)
	}
}

// HistoryPoint is a point in time that can be travelled to.
type HistoryPoint struct {
	TXID ltx.TXID  `json:"txid"`
	Time time.Time `json:"time"`
}

// MarshalJSON writes the time as litestream_time does, so that both compare as text.
func (p HistoryPoint) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		TXID ltx.TXID `json:"txid"`
		Time string   `json:"time"`
	}{p.TXID, formatTime(p.Time)})
}

// history returns the points that can be travelled to, in ascending order.
// Times are as good as a listing has them.
func (x *index) history(ctx context.Context) ([]HistoryPoint, error) {
	files, err := x.store.listAll(ctx, true)
	if err != nil {
		return nil, err
	}
	hs := []HistoryPoint{}
	for _, p := range points(files) {
		if p.reachable {
			hs = append(hs, HistoryPoint{TXID: p.txid, Time: p.dated().CreatedAt.UTC()})
		}
	}
	return hs, nil
}
