package litestream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/superfly/ltx"
)

// errOvertaken means that somebody published another view meanwhile.
var errOvertaken = errors.New("the view was replaced meanwhile")

// restart begins again with the newest state of another history. Views of
// the one before get no more pages from storage.
func (x *index) restart(ctx context.Context, before *view, files []*ltx.FileInfo) error {
	plan, err := planLatest(0, files)
	if err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	next, pages, err := x.assemble(ctx, plan)
	if err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	next.epoch = before.epoch + 1
	if err := x.writer.replace(before, x.newState(next)); err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	if next.pageSize != before.pageSize {
		x.pages.reset(next.pageSize)
	}
	x.remember(next.epoch, files)
	x.pages.cachePages(next, pages)
	x.log.Warn("the replica was replaced by another history, or nothing tells that it is the same", "had", before.txid, "txid", next.txid)
	return nil
}

// epochOf returns the epoch of files that were listed after a view was the current
// one: that of the view, unless the replica was replaced and no poll has noticed yet.
func (x *index) epochOf(ctx context.Context, before *view, files []*ltx.FileInfo) (uint32, error) {
	j, err := x.judge(ctx, before, files)
	if err == nil && j.verdict != sameHistory {
		err = x.refreshAnew(ctx).err() // one that began earlier may have seen other files
	}
	return x.current.Load().epoch, err
}

// settle makes sure that what a plan leads to can be told from another history
// later: that the current view knows its transactions. It begins another epoch if
// the plan has files of which nothing tells whether they end at the transactions
// that are known by the same numbers.
func (x *index) settle(ctx context.Context, plan []*ltx.FileInfo) error {
	cur := x.current.Load()
	doubtful := hasDoubtful(cur, plan)
	if !doubtful && (len(plan) == 0 || plan[len(plan)-1].MaxTXID <= cur.txid) {
		return nil
	}
	if doubtful {
		ending := int64(cur.epoch) + 1
		x.ending.Store(ending)
		defer x.ending.CompareAndSwap(ending, 0)
	}
	if err := x.refreshAnew(ctx).err(); err != nil {
		return err
	}
	cur = x.current.Load()
	if hasDoubtful(cur, plan) {
		return errOvertaken
	}
	if len(plan) > 0 && plan[len(plan)-1].MaxTXID > cur.txid {
		return fmt.Errorf("%s: %w", keyOf(plan[len(plan)-1]), fs.ErrNotExist) // it was there a moment ago
	}
	return nil
}

// hasDoubtful tells whether one of the files ends at a transaction that is
// doubtful in a view.
func hasDoubtful(v *view, files []*ltx.FileInfo) bool {
	return slices.ContainsFunc(files, func(info *ltx.FileInfo) bool { return v.isDoubtful(info.MaxTXID) })
}
