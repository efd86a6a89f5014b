package litestream

import (
	"context"
	"fmt"
	"slices"

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
	x.readRest()
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

// hasDoubtful reports whether one of the files ends at a transaction that is
// doubtful in v.
func hasDoubtful(v *view.View, files []*ltx.FileInfo) bool {
	return slices.ContainsFunc(files, func(info *ltx.FileInfo) bool { return v.IsDoubtful(info.MaxTXID) })
}
