package litestream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/superfly/ltx"
)

// pastViews knows the states that connections have travelled to, as long as
// any holds one, so that they share it. It is safe for concurrent use.
type pastViews struct {
	mu     sync.Mutex                      // duty: views
	byTXID map[ltx.TXID]weak.Pointer[view] // guarded by mu
}

func (p *pastViews) get(txid ltx.TXID) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byTXID[txid].Value()
}

// all returns the states that are in use.
func (p *pastViews) all() (views []*view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.byTXID {
		if v := w.Value(); v != nil {
			views = append(views, v)
		}
	}
	return views
}

// add keeps a view, or returns that which somebody else added meanwhile.
func (p *pastViews) add(v *view) *view {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byTXID == nil {
		p.byTXID = make(map[ltx.TXID]weak.Pointer[view])
	}
	for txid, w := range p.byTXID {
		if w.Value() == nil {
			delete(p.byTXID, txid)
		}
	}
	if known := p.byTXID[v.txid].Value(); known != nil && known.epoch == v.epoch {
		return known
	}
	p.byTXID[v.txid] = weak.Make(v)
	return v
}

// stateAt returns the view of a transaction if there is one already.
func (db *database) stateAt(txid ltx.TXID) *view {
	cur := db.current.Load()
	if cur.txid == txid {
		return cur
	}
	if v := db.past.get(txid); v != nil && v.epoch == cur.epoch && !cur.isDoubtful(txid) {
		return v
	}
	return nil
}

// travelTo returns the state after a transaction.
func (db *database) travelTo(ctx context.Context, target ltx.TXID) (*view, error) {
	if v := db.stateAt(target); v != nil {
		return v, nil
	}
	v, err := db.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		return planTXID(0, target, files)
	})
	if err != nil {
		return nil, fmt.Errorf("travel to transaction %s: %w", target, err)
	}
	return db.past.add(db.newOldState(v)), nil
}

// buildPast is build for a state of the history that the current view is of.
func (db *database) buildPast(ctx context.Context, choose func([]*ltx.FileInfo) ([]*ltx.FileInfo, error)) (*view, error) {
	var err error
	for range planAttempts {
		before := db.current.Load()
		epoch := before.epoch
		var v *view
		var pages keptPages
		v, pages, err = db.build(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
			switch now, err := db.epochOf(ctx, before, files); {
			case err != nil:
				return nil, err
			case now != epoch:
				return nil, errOvertaken
			}
			plan, err := choose(files)
			if err == nil {
				err = db.settle(ctx, plan)
			}
			return plan, err
		})
		if epoch != db.current.Load().epoch || errors.Is(err, errOvertaken) {
			continue // what was listed or read may be of both histories
		}
		if err != nil {
			return nil, err
		}
		v.epoch = epoch
		db.cachePages(v, pages)
		return v, nil
	}
	return nil, cmp.Or(err, errOvertaken)
}

// errIsKnown ends the making of a view that is there already.
var errIsKnown = errors.New("state is known")

// travelToTime returns the state as it was at a time: that after the newest
// transaction which is not younger.
func (db *database) travelToTime(ctx context.Context, t time.Time) (*view, error) {
	var known *view
	var ms int64
	v, err := db.buildPast(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		p, found, err := findByTime(ctx, points(files), t.UnixMilli(), db.store.timestamp)
		if err != nil {
			return nil, err
		}
		ms = found
		if known = db.stateAt(p.txid); known != nil {
			return nil, errIsKnown
		}
		return planTXID(0, p.txid, files)
	})
	switch {
	case err == nil:
		v.timestamp = min(v.timestamp, ms) // a snapshot is stamped when it is made
		return db.past.add(db.newOldState(v)), nil
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

// point is a transaction whose state the files of a replica give, or would
// give if there was no gap before it.
type point struct {
	txid      ltx.TXID
	files     []*ltx.FileInfo // that end there
	reachable bool
}

// dated returns the file whose timestamp is that of the transaction: of any
// but a snapshot, if there is one.
func (p point) dated() *ltx.FileInfo {
	for _, f := range p.files {
		if f.Level != SnapshotLevel {
			return f
		}
	}
	return p.files[0]
}

// points returns the points of a replica in ascending order. It leaves out
// those that lie within a file that leads past them, while the ones before
// them have been deleted: as retention goes on, that is how level 0 begins.
func points(files []*ltx.FileInfo) []point {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MaxTXID, b.MaxTXID) })
	var ps []point
	var reached ltx.TXID // last reachable point before the newest
	for _, f := range sorted {
		if n := len(ps); n == 0 || ps[n-1].txid != f.MaxTXID {
			if n > 0 && ps[n-1].reachable {
				reached = ps[n-1].txid
			}
			ps = append(ps, point{txid: f.MaxTXID})
		}
		p := &ps[len(ps)-1]
		p.files = append(p.files, f)
		if f.MinTXID == 1 || reached != 0 && f.MinTXID <= reached+1 {
			p.reachable = true
		}
	}
	var past ltx.TXID // how far files lead that begin right after what is reachable
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MinTXID, b.MinTXID) })
	return slices.DeleteFunc(ps, func(p point) bool {
		if !p.reachable {
			return past > p.txid
		}
		for ; len(sorted) > 0 && sorted[0].MinTXID <= p.txid+1; sorted = sorted[1:] {
			if sorted[0].MinTXID > 1 {
				past = max(past, sorted[0].MaxTXID)
			}
		}
		return false
	})
}

// findByTime returns the newest of the points with a timestamp <= t, and
// that timestamp, both ms since the Unix epoch. Timestamps grow with TXIDs,
// but for snapshots', which are stamped when they are made. What a listing says
// of timestamps only tells where to begin; header reads a file's own, which decides.
func findByTime(ctx context.Context, ps []point, t int64, header func(context.Context, *ltx.FileInfo) (int64, error)) (point, int64, error) {
	if len(ps) == 0 {
		return point{}, 0, ErrNoDatabase
	}
	var dated []int // of the points that have a file that is no snapshot
	for i, p := range ps {
		if p.dated().Level != SnapshotLevel {
			dated = append(dated, i)
		}
	}
	stamp := make(map[int]int64)
	read := func(i int) (int64, error) {
		ms, err := header(ctx, ps[dated[i]].dated())
		stamp[dated[i]] = ms
		return ms, err
	}
	guess := len(dated)
	for i := range dated {
		if f := ps[dated[i]].dated(); !f.CreatedAt.IsZero() && f.CreatedAt.UnixMilli() > t {
			guess = i
			break
		}
	}
	last, err := lastUpTo(t, len(dated), guess, read)
	if err != nil {
		return point{}, 0, err
	}
	// Points only snapshots end at may lie between.
	best, end := -1, len(ps)
	if last >= 0 {
		best = dated[last]
	}
	if last+1 < len(dated) {
		end = dated[last+1]
	}
	for i := end - 1; i > best; i-- {
		ms, err := header(ctx, ps[i].dated())
		if err != nil {
			return point{}, 0, err
		}
		if ms <= t {
			best, stamp[i] = i, ms
		}
	}
	if best < 0 {
		return point{}, 0, fmt.Errorf("%w: the oldest is younger", ErrTxNotAvailable)
	}
	if gap := gapBefore(ps, best); gap != nil {
		return point{}, 0, gap
	}
	if !ps[best].reachable {
		return point{}, 0, fmt.Errorf("%w: %s lies before the oldest snapshot", ErrTxNotAvailable, ps[best].txid)
	}
	if best+1 < len(ps) && stamp[best] < t {
		// What is missing right after might be as old.
		if gap := gapBefore(ps, best+1); gap != nil {
			return point{}, 0, gap
		}
	}
	return ps[best], stamp[best], nil
}

// gapBefore returns the error for a point that would be reachable but for
// transactions missing between a reachable one and it.
func gapBefore(ps []point, i int) error {
	if ps[i].reachable {
		return nil
	}
	for k := i - 1; k >= 0; k-- {
		if ps[k].reachable {
			next := ps[k+1].files[0].MinTXID
			for _, f := range ps[k+1].files {
				next = min(next, f.MinTXID)
			}
			return gapError(ps[k].txid+1, next)
		}
	}
	return nil
}

// lastUpTo returns the last of n values in ascending order that is <= t, -1 if
// none is. It starts from a guess of the first greater one, and reads two values
// if that is right. If not, it reads both ends and then, in turn, where t would be
// if the values between two that are known lay on a line, right after that, and
// the middle: O(log n) values, far fewer where they do.
func lastUpTo(t int64, n, guess int, read func(int) (int64, error)) (int, error) {
	lo, hi := -1, n // value lo is <= t, value hi is greater
	var below, above int64
	probe := func(i int) error {
		if i <= lo || i >= hi {
			return nil
		}
		value, err := read(i)
		switch {
		case err != nil:
			return err
		case value <= t:
			lo, below = i, value
		default:
			hi, above = i, value
		}
		return nil
	}
	for _, i := range []int{guess - 1, guess, 0, n - 1} {
		if err := probe(i); err != nil {
			return 0, err
		}
	}
	for turn := 0; hi-lo > 1; turn++ {
		i := lo + (hi-lo)/2
		if turn%3 < 2 && above > below {
			i = lo + turn%3 + int(float64(hi-lo)*(float64(t-below)/float64(above-below)))
			i = min(max(i, lo+1), hi-1)
		}
		if err := probe(i); err != nil {
			return 0, err
		}
	}
	return lo, nil
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
func (db *database) history(ctx context.Context) ([]HistoryPoint, error) {
	files, err := db.store.listAll(ctx, true)
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
