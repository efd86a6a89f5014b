package compact

import (
	"fmt"
	"math"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// checkGrowth checks whether the newest snapshot is outgrown, unless all levels
// were listed recently.
func (c *compactor) checkGrowth() error {
	if !c.Notes.IsLookDue() {
		return nil
	}
	ctx, cancel := c.within(0)
	defer cancel()
	cur := c.Views.Current.Load()
	files, err := c.Store.ListAll(ctx, false)
	if err != nil {
		return err
	}
	c.Notes.Saw(cur, files)
	if plan, _ := view.Extend(0, cur.TXID, files); view.IsOutgrown(plan) {
		c.due.grow()
	}
	return nil
}

// snapshot makes a file of the whole database and deletes old snapshots. Unless
// always is set, it does nothing while the newest snapshot is not outgrown.
func (c *compactor) snapshot(always bool) (made bool, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	files, err := c.Store.ListAll(ctx, false)
	if err != nil {
		return false, err
	}
	cur := c.Views.Current.Load()
	plan, end := view.Extend(0, cur.TXID, c.withoutForeign(files))
	if end == 0 || !always && !view.IsOutgrown(plan) {
		return false, nil
	}
	if len(plan) > 1 || plan[0].Level != replica.SnapshotLevel {
		plan = AtOnce(plan)
		info, err := c.merge(cur, replica.SnapshotLevel, plan)
		if err == nil {
			err = c.use(info, cur)
		}
		if err != nil {
			return false, err
		}
		if made = info != nil; made {
			files = append(files, info)
		}
		end = plan[len(plan)-1].MaxTXID
	}
	if err := c.pruneSnapshots(files, end); err != nil {
		return made, fmt.Errorf("delete old snapshots: %w", err)
	}
	return made, nil
}

// pruneSnapshots deletes the snapshots and files that SnapshotRetention does not keep.
// End is the transaction of the newest snapshot.
func (c *compactor) pruneSnapshots(files []*ltx.FileInfo, end ltx.TXID) error {
	if c.Opts.SnapshotRetention == 0 {
		return nil
	}
	ctx, cancel := c.within(0)
	defer cancel()
	old := c.oldFiles(files, end)
	if len(old) == 0 {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(files), func(f *ltx.FileInfo) bool { return slices.Contains(old, f) })
	// The files that stay must exist and give the state of this process and the
	// newest state. Those differ if another writer has taken over and this process
	// has not noticed yet.
	for _, limit := range []ltx.TXID{c.Views.Current.Load().TXID, math.MaxUint64} {
		_, had := view.Extend(0, limit, files)
		plan, has := view.Extend(0, limit, left)
		if has != had {
			return fmt.Errorf("without %d of them, transaction %s would be lost", len(old), had)
		}
		if len(plan) == 0 {
			return nil
		}
		if err := c.checkThere(ctx, plan[0]); err != nil {
			return err
		}
	}
	_, err := c.delete(ctx, old)
	return err
}

// oldFiles returns the files that SnapshotRetention does not keep. Every state since the
// beginning of that time can be read without them: the newest snapshot that is older
// stays, and so do the files after it. Snapshots after end stay, whatever their age: they
// are of another writer that has gone on, and the newest of them may be all that is left
// of its transactions.
func (c *compactor) oldFiles(files []*ltx.FileInfo, end ltx.TXID) (old []*ltx.FileInfo) {
	limit := c.Opts.Now().Add(-c.behind(files)).Add(-c.Opts.SnapshotRetention)
	base := ltx.TXID(0) // the newest old snapshot; states since then need it
	for _, f := range files {
		if f.Level == replica.SnapshotLevel && f.MaxTXID <= end && f.CreatedAt.Before(limit) {
			base = max(base, f.MaxTXID)
		}
	}
	oldest := end // the oldest snapshot that stays
	for _, f := range files {
		switch {
		case f.Level != replica.SnapshotLevel || f.MaxTXID >= end:
		case f.MaxTXID < base && f.CreatedAt.Before(limit):
			old = append(old, f)
		default:
			oldest = min(oldest, f.MaxTXID)
		}
	}
	// The newest file of each level stays, because compaction continues from it.
	// Files whose transactions the next level does not have yet stay, too.
	newest := make(map[int]ltx.TXID)
	for _, f := range files {
		newest[f.Level] = max(newest[f.Level], f.MaxTXID)
	}
	top := len(c.Opts.Levels)
	for _, f := range files {
		compacted := f.Level >= top || f.MaxTXID <= newest[f.Level+1]
		if f.Level > 0 && f.Level < replica.SnapshotLevel && compacted && f.MaxTXID < oldest && f.MaxTXID < newest[f.Level] && f.CreatedAt.Before(limit) {
			old = append(old, f)
		}
	}
	return old
}
