package maintain

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
)

// Keep says which states Prune keeps, besides the newest one. A state is kept if any
// of the fields says so. Hours, days, weeks from Monday on, and months are those of
// UTC. The fields are those of restic.
type Keep struct {
	// Last is the number of states to keep, from the newest one on.
	Last int

	// Hourly, Daily, Weekly and Monthly are numbers of hours, days, weeks and
	// months. Of each of the last ones that have states, the newest state is kept.
	Hourly, Daily, Weekly, Monthly int

	// Within keeps the states of this long before the newest one, and the state
	// that the database had at the beginning of that time.
	Within time.Duration

	// Moments are kept, too. Each has to be there.
	Moments []Moment
}

// isEmpty reports whether nothing says what to keep.
func (k Keep) isEmpty() bool {
	return k.Last == 0 && k.Hourly == 0 && k.Daily == 0 && k.Weekly == 0 && k.Monthly == 0 && k.Within == 0 && len(k.Moments) == 0
}

// validate returns an error for a policy that keeps nothing or makes no sense.
func (k Keep) validate() error {
	if k.isEmpty() {
		return fmt.Errorf("%w: nothing says which states to keep", fs.ErrInvalid)
	}
	if min(k.Last, k.Hourly, k.Daily, k.Weekly, k.Monthly) < 0 || k.Within < 0 {
		return fmt.Errorf("%w: a negative number of states to keep", fs.ErrInvalid)
	}
	return nil
}

// Kept is a state that Prune keeps, with the reasons: newest, last, hourly, daily,
// weekly, monthly, within, and moment.
type Kept struct {
	Point
	Why []string `json:"why"`
}

// keepWindows are the kinds of windows of time, of each of which one state is kept.
var keepWindows = []struct {
	why   string
	count func(Keep) int
	of    func(time.Time) [3]int // tells the windows apart
}{
	{"hourly", func(k Keep) int { return k.Hourly }, func(t time.Time) [3]int { return [3]int{t.Year(), t.YearDay(), t.Hour()} }},
	{"daily", func(k Keep) int { return k.Daily }, func(t time.Time) [3]int { return [3]int{t.Year(), t.YearDay()} }},
	{"weekly", func(k Keep) int { return k.Weekly }, func(t time.Time) [3]int { year, week := t.ISOWeek(); return [3]int{year, week} }},
	{"monthly", func(k Keep) int { return k.Monthly }, func(t time.Time) [3]int { return [3]int{t.Year(), int(t.Month())} }},
}

// choose returns the states to be kept, in ascending order. Points are all states,
// in ascending order. Find returns the transaction of a moment.
func (k Keep) choose(points []Point, find func(Moment) (ltx.TXID, error)) ([]Kept, error) {
	why := make([][]string, len(points))
	newest := len(points) - 1
	why[newest] = append(why[newest], "newest")
	for i := max(0, len(points)-k.Last); i < len(points); i++ {
		why[i] = append(why[i], "last")
	}
	for _, w := range keepWindows {
		left := w.count(k)
		var open [3]int
		for i := newest; i >= 0 && left > 0; i-- {
			if window := w.of(points[i].Time.UTC()); i == newest || window != open {
				open = window
				why[i] = append(why[i], w.why)
				left--
			}
		}
	}
	if k.Within > 0 {
		from := points[newest].Time.Add(-k.Within)
		for i := newest; i >= 0; i-- {
			why[i] = append(why[i], "within")
			if !points[i].Time.After(from) {
				break
			}
		}
	}
	for _, m := range k.Moments {
		txid, err := find(m)
		if err != nil {
			return nil, fmt.Errorf("keep %s: %w", m, err)
		}
		i, ok := slices.BinarySearchFunc(points, txid, func(p Point, txid ltx.TXID) int { return compareTXIDs(p.TXID, txid) })
		if !ok {
			return nil, fmt.Errorf("keep %s: %w", m, errs.ErrTxNotAvailable)
		}
		why[i] = append(why[i], "moment")
	}
	var kept []Kept
	for i, p := range points {
		if len(why[i]) > 0 {
			kept = append(kept, Kept{p, why[i]})
		}
	}
	return kept, nil
}

// momentOf returns the transaction of a moment that files give.
func (s *session) momentOf(ctx context.Context, files []*ltx.FileInfo, m Moment) (ltx.TXID, error) {
	plan, err := s.plan(ctx, files, m)
	if err != nil {
		return 0, err
	}
	return plan[len(plan)-1].MaxTXID, nil
}

// datedMoments returns the states that listed files give, with their times.
func (s *session) datedMoments(ctx context.Context, files []*ltx.FileInfo) (points []Point, err error) {
	for _, p := range view.Points(files) {
		if !p.Reachable {
			continue
		}
		at := p.Dated().CreatedAt.UTC()
		if at.IsZero() {
			ms, err := s.timestamp(ctx, p.Dated())
			if err != nil {
				return nil, err
			}
			at = time.UnixMilli(ms).UTC()
		}
		points = append(points, Point{p.TXID, at})
	}
	return points, nil
}
