package view

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/superfly/ltx"
)

// PlanLatest returns the files that give the newest state when they are
// applied, in order, to the state after transaction from. If from is 0, they
// are applied to an empty database. PlanLatest returns no files if from is the
// newest transaction. The given files may be of any levels and in any order.
//
// The errors are ErrNoDatabase and *MissingError.
func PlanLatest(from ltx.TXID, files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
	if from == 0 && len(files) == 0 {
		return nil, errs.ErrNoDatabase
	}
	plan, end := Extend(from, math.MaxUint64, files)
	var next *ltx.FileInfo // the first of the files after a gap
	for _, f := range files {
		if f.MaxTXID > end && (next == nil || f.MinTXID < next.MinTXID) {
			next = f
		}
	}
	switch {
	case next != nil:
		return nil, errs.Gap(end+1, next.MinTXID)
	case end == 0:
		return nil, errs.ErrNoDatabase // the files have no transactions
	}
	return plan, nil
}

// PlanTXID is PlanLatest for the state after transaction target. It returns
// ErrTxNotAvailable if the files do not give that state, or if it is not later than
// from. So there is no state after transaction 0, which is none.
func PlanTXID(from, target ltx.TXID, files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
	plan, end := Extend(from, target, files)
	if end != target || len(plan) == 0 {
		return nil, fmt.Errorf("%w: %s", errs.ErrTxNotAvailable, whyNot(target, files))
	}
	return plan, nil
}

// whyNot says why files do not give the state after transaction target.
func whyNot(target ltx.TXID, files []*ltx.FileInfo) string {
	var before, newest ltx.TXID
	for _, f := range files {
		newest = max(newest, f.MaxTXID)
	}
	for _, p := range Points(files) {
		if p.Reachable && p.TXID < target {
			before = p.TXID
		}
	}
	switch {
	case target > newest:
		return fmt.Sprintf("%s is later than the newest, %s", target, newest)
	case before == 0:
		return fmt.Sprintf("%s lies before the oldest that is kept", target)
	default:
		return fmt.Sprintf("%s was compacted with later ones, the one before it is %s", target, before)
	}
}

// Extend chains files from transaction from up to limit at most. At each step
// it takes the file that reaches furthest; no other choice gets further.
func Extend(from, limit ltx.TXID, files []*ltx.FileInfo) (plan []*ltx.FileInfo, end ltx.TXID) {
	sorted := make([]*ltx.FileInfo, 0, len(files))
	for _, f := range files {
		if f.MaxTXID > from && f.MaxTXID <= limit {
			sorted = append(sorted, f)
		}
	}
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MinTXID, b.MinTXID) })
	better := func(a, b *ltx.FileInfo) bool {
		switch {
		case b == nil || a.MaxTXID != b.MaxTXID:
			return b == nil || a.MaxTXID > b.MaxTXID
		case from > 0 && a.MinTXID != b.MinTXID:
			return a.MinTXID > b.MinTXID // contains fewer transactions that are known already
		default:
			return a.Level > b.Level // higher levels are retained longer
		}
	}
	end = from
	var whole *ltx.FileInfo
	for i := 0; ; {
		var best *ltx.FileInfo
		for ; i < len(sorted) && sorted[i].MinTXID <= end+1; i++ {
			f := sorted[i]
			switch {
			case from > 0 && f.MinTXID == 1:
				// Do not read a whole database to apply a few transactions,
				// unless there is no other way.
				if better(f, whole) {
					whole = f
				}
			case f.MaxTXID > end && better(f, best):
				best = f
			}
		}
		if best == nil && whole != nil && whole.MaxTXID > end {
			best = whole
		}
		if best == nil {
			return plan, end
		}
		plan = append(plan, best)
		end = best.MaxTXID
	}
}

// Steps chains files from transaction from, like Extend, but at each step it takes
// the file that reaches least far. So the states after them are as many as the files
// give. It takes a file with a whole database, which does not say what has changed,
// only if there is no other way.
func Steps(from ltx.TXID, files []*ltx.FileInfo) (steps []*ltx.FileInfo) {
	better := func(a, b *ltx.FileInfo) bool {
		switch {
		case b == nil:
			return true
		case (a.MinTXID == 1) != (b.MinTXID == 1):
			return b.MinTXID == 1
		case a.MaxTXID != b.MaxTXID:
			return a.MaxTXID < b.MaxTXID
		case a.MinTXID != b.MinTXID:
			return a.MinTXID > b.MinTXID // contains fewer transactions that are known already
		default:
			return a.Level > b.Level // higher levels are retained longer
		}
	}
	sorted := slices.DeleteFunc(slices.Clone(files), func(f *ltx.FileInfo) bool { return f.MaxTXID <= from })
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MinTXID, b.MinTXID) })
	var near []*ltx.FileInfo // that begin at or before the transaction after end
	for end := from; ; {
		for ; len(sorted) > 0 && sorted[0].MinTXID <= end+1; sorted = sorted[1:] {
			near = append(near, sorted[0])
		}
		near = slices.DeleteFunc(near, func(f *ltx.FileInfo) bool { return f.MaxTXID <= end })
		var best *ltx.FileInfo
		for _, f := range near {
			if better(f, best) {
				best = f
			}
		}
		if best == nil {
			return steps
		}
		steps = append(steps, best)
		end = best.MaxTXID
	}
}
