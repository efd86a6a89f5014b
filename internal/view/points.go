package view

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/replica"
	"github.com/superfly/ltx"
)

// Point is a transaction whose state the files of a replica give, or would give
// if no transactions were missing before it.
type Point struct {
	TXID      ltx.TXID
	files     []*ltx.FileInfo // files that end at TXID
	Reachable bool
}

// Dated returns the file whose timestamp is the timestamp of the transaction.
// Any file but a snapshot qualifies. If there are only snapshots, Dated returns
// one of them.
func (p Point) Dated() *ltx.FileInfo {
	for _, f := range p.files {
		if f.Level != replica.SnapshotLevel {
			return f
		}
	}
	return p.files[0]
}

// Points returns the points of a replica in ascending order. It leaves out an
// unreachable point if a file leads past it from a reachable one. Level 0
// begins with such points when retention has deleted the files before them.
func Points(files []*ltx.FileInfo) []Point {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MaxTXID, b.MaxTXID) })
	var ps []Point
	var reached ltx.TXID // last reachable point before the newest point
	for _, f := range sorted {
		if n := len(ps); n == 0 || ps[n-1].TXID != f.MaxTXID {
			if n > 0 && ps[n-1].Reachable {
				reached = ps[n-1].TXID
			}
			ps = append(ps, Point{TXID: f.MaxTXID})
		}
		p := &ps[len(ps)-1]
		p.files = append(p.files, f)
		if f.MinTXID == 1 || reached != 0 && f.MinTXID <= reached+1 {
			p.Reachable = true
		}
	}
	var past ltx.TXID // greatest MaxTXID of files that begin right after a reachable point
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MinTXID, b.MinTXID) })
	return slices.DeleteFunc(ps, func(p Point) bool {
		if !p.Reachable {
			return past > p.TXID
		}
		for ; len(sorted) > 0 && sorted[0].MinTXID <= p.TXID+1; sorted = sorted[1:] {
			if sorted[0].MinTXID > 1 {
				past = max(past, sorted[0].MaxTXID)
			}
		}
		return false
	})
}

// FindByTime returns the newest point with a timestamp of at most t, and that
// timestamp. Both are in milliseconds since the Unix epoch. Timestamps ascend
// with TXIDs, except those of snapshots, which carry the time of their
// creation. The timestamps of a listing only tell where the search begins; the
// timestamps that header reads from the files decide.
func FindByTime(ctx context.Context, ps []Point, t int64, header func(context.Context, *ltx.FileInfo) (int64, error)) (Point, int64, error) {
	if len(ps) == 0 {
		return Point{}, 0, errs.ErrNoDatabase
	}
	var dated []int // indexes of the points with a file that is not a snapshot
	for i, p := range ps {
		if p.Dated().Level != replica.SnapshotLevel {
			dated = append(dated, i)
		}
	}
	stamp := make(map[int]int64)
	read := func(i int) (int64, error) {
		ms, err := header(ctx, ps[dated[i]].Dated())
		stamp[dated[i]] = ms
		return ms, err
	}
	guess := len(dated)
	for i := range dated {
		if f := ps[dated[i]].Dated(); !f.CreatedAt.IsZero() && f.CreatedAt.UnixMilli() > t {
			guess = i
			break
		}
	}
	last, err := lastUpTo(t, len(dated), guess, read)
	if err != nil {
		return Point{}, 0, err
	}
	// Points at which only snapshots end may lie in between.
	best, end := -1, len(ps)
	if last >= 0 {
		best = dated[last]
	}
	if last+1 < len(dated) {
		end = dated[last+1]
	}
	for i := end - 1; i > best; i-- {
		ms, err := header(ctx, ps[i].Dated())
		if err != nil {
			return Point{}, 0, err
		}
		if ms <= t {
			best, stamp[i] = i, ms
		}
	}
	if best < 0 {
		return Point{}, 0, fmt.Errorf("%w: the oldest is younger: %s", errs.ErrTxNotAvailable, describeOldest(ctx, ps, header))
	}
	if gap := gapBefore(ps, best); gap != nil {
		return Point{}, 0, gap
	}
	if !ps[best].Reachable {
		return Point{}, 0, fmt.Errorf("%w: %s lies before the oldest snapshot: the oldest is %s", errs.ErrTxNotAvailable, ps[best].TXID, describeOldest(ctx, ps, header))
	}
	if best+1 < len(ps) && stamp[best] < t {
		// The transactions that are missing right after the point might not be
		// younger than t.
		if gap := gapBefore(ps, best+1); gap != nil {
			return Point{}, 0, gap
		}
	}
	return ps[best], stamp[best], nil
}

// describeOldest returns the transaction and the time of the oldest reachable
// point, as far as they can be had.
func describeOldest(ctx context.Context, ps []Point, header func(context.Context, *ltx.FileInfo) (int64, error)) string {
	i := slices.IndexFunc(ps, func(p Point) bool { return p.Reachable })
	if i < 0 {
		return "no transaction can be travelled to"
	}
	ms, err := header(ctx, ps[i].Dated())
	if err != nil {
		return ps[i].TXID.String()
	}
	return fmt.Sprintf("%s of %s", ps[i].TXID, ltx.FormatTimestamp(time.UnixMilli(ms).UTC()))
}

// NotAvailable returns the error for a transaction whose state the files of a
// replica do not give. It says what is there instead.
func NotAvailable(target ltx.TXID, files []*ltx.FileInfo) error {
	var before, after ltx.TXID // the reachable points next to the target; 0 if there is none
	for _, p := range Points(files) {
		switch {
		case !p.Reachable:
		case p.TXID < target:
			before = p.TXID
		case after == 0:
			after = p.TXID
		}
	}
	switch {
	case before == 0 && after == 0:
		return fmt.Errorf("%w: no transaction can be travelled to", errs.ErrTxNotAvailable)
	case after == 0:
		return fmt.Errorf("%w: the newest is %s", errs.ErrTxNotAvailable, before)
	case before == 0:
		return fmt.Errorf("%w: the oldest is %s", errs.ErrTxNotAvailable, after)
	}
	return fmt.Errorf("%w: it lies within a compacted file, and the nearest are %s and %s", errs.ErrTxNotAvailable, before, after)
}

// gapBefore returns the error for point i if it is unreachable because
// transactions are missing between it and an earlier reachable point. Otherwise
// gapBefore returns nil.
func gapBefore(ps []Point, i int) error {
	if ps[i].Reachable {
		return nil
	}
	for k := i - 1; k >= 0; k-- {
		if ps[k].Reachable {
			next := ps[k+1].files[0].MinTXID
			for _, f := range ps[k+1].files {
				next = min(next, f.MinTXID)
			}
			return errs.Gap(ps[k].TXID+1, next)
		}
	}
	return nil
}

// lastUpTo returns the index of the last of n ascending values that is <= t, or
// -1 if there is none. It starts from a guess of the first index with a greater
// value. If the guess is right, lastUpTo reads two values. If not, it reads the
// first and the last value and then probes, in turn, the interpolated index,
// the index after that, and the middle of the remaining range. It reads O(log
// n) values, and far fewer if the values grow evenly.
func lastUpTo(t int64, n, guess int, read func(int) (int64, error)) (int, error) {
	lo, hi := -1, n // value lo is <= t, value hi is > t
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
		if turn%3 < 2 {
			i = lo + turn%3 + int(float64(hi-lo)*(float64(t-below)/float64(above-below)))
			i = min(max(i, lo+1), hi-1)
		}
		if err := probe(i); err != nil {
			return 0, err
		}
	}
	return lo, nil
}
