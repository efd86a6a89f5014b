package maintain

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/replica"
)

// missing returns the findings about transactions that no file holds.
//
// A snapshot holds the newest state of a range of transactions, so it fills a gap
// between the files of other levels, but the moments in the gap are lost. Up to
// the oldest snapshot, retention makes such gaps. Above it, Prune does, but not if
// the files after the gap cannot be applied to any state.
func missing(files []*ltx.FileInfo) (found []Finding) {
	var retained, newest ltx.TXID // end of the oldest snapshot; newest transaction
	var others []*ltx.FileInfo    // files that are no snapshots
	for _, f := range files {
		newest = max(newest, f.MaxTXID)
		if f.Level != replica.SnapshotLevel {
			others = append(others, f)
		} else if retained == 0 || f.MaxTXID < retained {
			retained = f.MaxTXID
		}
	}
	gaps := gapsIn(files, 0)
	for _, gap := range gaps {
		err := errs.Gap(gap.First, gap.Last+1)
		if gap.First == 1 {
			err = fmt.Errorf("%w, so the state that the later ones change is unknown", err)
		}
		found = append(found, Finding{Kind: Missing, Range: gap, Err: err})
	}
	moments := momentsOf(files)
	for _, hole := range gapsIn(others, retained) {
		if !slices.Contains(gaps, hole) && hasOrphan(hole, others, moments) {
			found = append(found, Finding{Kind: Missing, Range: hole, Err: errors.New(
				"only snapshots hold transactions " + hole.String() + ", so the states between them are lost")})
		}
	}
	slices.SortFunc(found, func(a, b Finding) int { return cmp.Compare(a.Range.First, b.Range.First) })
	return found
}

// hasOrphan reports whether a file right after a hole cannot be applied to any state.
func hasOrphan(hole Range, files []*ltx.FileInfo, moments []ltx.TXID) bool {
	return slices.ContainsFunc(files, func(f *ltx.FileInfo) bool {
		if f.MinTXID != hole.Last+1 {
			return false
		}
		i, _ := slices.BinarySearch(moments, f.MinTXID-1)
		return i == len(moments) || moments[i] >= f.MaxTXID
	})
}

// gapsIn returns the transactions after a given one that no file holds, although
// some file holds a later one.
func gapsIn(files []*ltx.FileInfo, after ltx.TXID) (gaps []Range) {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b *ltx.FileInfo) int { return cmp.Compare(a.MinTXID, b.MinTXID) })
	end := after
	for _, f := range sorted {
		if f.MinTXID > end+1 {
			gaps = append(gaps, Range{end + 1, f.MinTXID - 1})
		}
		end = max(end, f.MaxTXID)
	}
	return gaps
}

// formatStamp formats a timestamp of an LTX file.
func formatStamp(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
