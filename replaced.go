package litestream

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// restart publishes the newest state of another history. Views of the previous
// history get no more pages from storage.
func (x *index) restart(ctx context.Context, before *view.View, files []*ltx.FileInfo) error {
	plan, err := view.PlanLatest(0, files)
	if err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	next, pages, err := x.assemble(ctx, plan)
	if err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	next.Epoch = before.Epoch + 1
	if err := x.writer.Replace(before, x.NewState(next)); err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	if next.PageSize != before.PageSize {
		x.pages.Reset(next.PageSize)
	}
	x.remember(next.Epoch, files)
	x.pages.CachePages(next, pages)
	x.log.Warn("the replica was replaced by another history, or nothing tells that it is the same", "had", before.TXID, "txid", next.TXID)
	return nil
}

// epochOf returns the epoch of files that were listed after view before was the
// current one. It is the epoch of that view, unless the replica was replaced
// and no poll has noticed it yet.
func (x *index) epochOf(ctx context.Context, before *view.View, files []*ltx.FileInfo) (uint32, error) {
	j, err := x.judge(ctx, before, files)
	if err == nil && j.verdict != sameHistory {
		err = x.refreshAnew(ctx).err() // a refresh that began earlier may have seen other files
	}
	return x.Current.Load().Epoch, err
}

// settle makes sure that the state a plan gives can be told from another
// history later: the current view must know its transactions. If it is unknown
// whether files of the plan end at the transactions that the current view has
// under the same numbers, settle begins another epoch.
func (x *index) settle(ctx context.Context, plan []*ltx.FileInfo) error {
	cur := x.Current.Load()
	doubtful := hasDoubtful(cur, plan)
	if !doubtful && (len(plan) == 0 || plan[len(plan)-1].MaxTXID <= cur.TXID) {
		return nil
	}
	if doubtful {
		ending := int64(cur.Epoch) + 1
		x.ending.Store(ending)
		defer x.ending.CompareAndSwap(ending, 0)
	}
	if err := x.refreshAnew(ctx).err(); err != nil {
		return err
	}
	cur = x.Current.Load()
	if hasDoubtful(cur, plan) {
		return errs.ErrOvertaken
	}
	if len(plan) > 0 && plan[len(plan)-1].MaxTXID > cur.TXID {
		return fmt.Errorf("%s: %w", view.KeyOf(plan[len(plan)-1]), fs.ErrNotExist) // the file was listed a moment ago
	}
	return nil
}

// hasDoubtful reports whether one of the files ends at a transaction that is
// doubtful in v.
func hasDoubtful(v *view.View, files []*ltx.FileInfo) bool {
	return slices.ContainsFunc(files, func(info *ltx.FileInfo) bool { return v.IsDoubtful(info.MaxTXID) })
}
