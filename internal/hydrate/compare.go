package hydrate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/task"
)

// comparer compares the checksums of files with the pages that the local file
// has of them.
type comparer struct {
	*partReader
	tier        *Tier
	concurrency int
}

// compare compares the checksums of the files with pages that are not settled.
// It is called when all pages of the view are local.
func (c *comparer) compare(ctx context.Context) error {
	l := c.tier.local.Load()
	held := l.held.Load()
	if held == nil {
		return nil
	}
	defer task.Signal(c.tier.wake)
	files := held.unsettled()
	keep := make(map[*view.File]*fileTally, len(files))
	for _, t := range files {
		keep[t.file] = t
	}
	l.sums.forget(keep)
	for _, t := range files {
		if !c.isCurrent(held.view.Epoch) {
			return nil
		}
		compared, err := c.compareFile(ctx, l, held.view, t)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if !compared && (t.file.Placeless || isComparable(t.file, t.all)) && held.view != c.Views.Current.Load() {
			return nil // the comparison is repeated with the newest view
		}
		l.settle(ctx, held, t.file, compared || t.file.IsWhole)
		delete(keep, t.file)
		l.sums.forget(keep)
	}
	return nil
}

// compareFile compares the checksum of a file, unless that takes reading too
// much of it. It reports whether it did.
func (c *comparer) compareFile(ctx context.Context, l *localPages, v *view.View, t *fileTally) (bool, error) {
	f, missing, at := t.file, int64(0), c.places(ctx)
	walkFile(at, v, t, l.sums.of(f), nil, func(offset, end int64) { missing += end - offset })
	if at.err != nil {
		return false, at.err
	}
	if missing*100 > (f.FramesEnd-ltx.HeaderSize)*(100-wholeShare) {
		return false, nil
	}
	gaps, err := l.sumBack(at, v, t)
	if err == nil && len(gaps) > 0 {
		err = c.sumGaps(ctx, l, v, f, gaps)
	}
	if err != nil || ctx.Err() != nil {
		return false, err
	}
	var sum ltxio.Sum
	end := int64(ltx.HeaderSize)
	for _, s := range l.sums.of(f) {
		if s.offset == end {
			sum, end = sum.Join(s.sum), s.end
		}
	}
	if end != f.FramesEnd {
		return false, nil // the replica was replaced, or the local file was dropped
	}
	if !f.KnowsFrames() {
		if err := c.readIndex(ctx, f, v.Epoch); err != nil {
			return false, err
		}
	}
	if !f.HasFrames(sum) {
		if err := c.reread(ctx, l, v, f); err != nil {
			return false, err
		}
	}
	return c.isCurrent(v.Epoch), nil
}

// sumGaps reads the gaps of a file, and makes stretches of them.
func (c *comparer) sumGaps(ctx context.Context, l *localPages, v *view.View, f *view.File, gaps []gap) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxBatch * c.concurrency)
	for _, gap := range gaps {
		g.Go(func() (err error) {
			defer task.Guard(c.Log, "hydration", &err)
			part := stretch{offset: gap.offset, end: gap.offset}
			err = c.eachFrame(ctx, f, v.Epoch, gap.offset, gap.end, func(frame []byte, _ uint32, page []byte) {
				part.sum.AddFrame(frame, page)
				part.end += int64(len(frame))
			})
			if err == nil && part.end == gap.end {
				l.sums.add(f, part)
			}
			return err
		})
	}
	return g.Wait()
}

// errLocalWrong means that a page of the local file is not as on the replica,
// where its file is intact.
var errLocalWrong = errors.New("the local file is damaged")

// reread reads a file again after its frames did not have its checksum. It
// returns what is wrong: the file, or a page of the local file. Nothing is wrong
// if some frames of the file have another header format than the first one.
func (c *comparer) reread(ctx context.Context, l *localPages, v *view.View, f *view.File) error {
	var sum ltxio.Sum
	head := make([]byte, ltx.HeaderSize)
	if err := c.read(ctx, f, v.Epoch, head, 0, nil); err != nil {
		return err
	}
	sum.Add(head)
	local := make([]byte, l.size)
	differs := uint32(0)
	err := c.eachFrame(ctx, f, v.Epoch, ltx.HeaderSize, f.FramesEnd, func(frame []byte, pgno uint32, page []byte) {
		sum.AddFrame(frame, page)
		if loc, ok := v.Lookup(pgno); ok && loc.File == f && l.read(v, pgno, local) == nil && !bytes.Equal(local, page) {
			differs = pgno
		}
	})
	if err != nil && !errors.Is(err, errs.ErrCorrupt) {
		return err
	}
	trailer, terr := c.sumTail(ctx, v.Epoch, f, &sum)
	switch {
	case terr != nil:
		return terr
	case !c.isCurrent(v.Epoch):
		return nil // the trailer is that of another file, or was not read
	case trailer.FileChecksum != f.Checksum:
		return fmt.Errorf("%s was replaced by a file with another checksum: %w", f, fs.ErrNotExist)
	}
	if err == nil {
		err = sum.Check(trailer)
	}
	if err != nil {
		return &fileError{file: f, epoch: v.Epoch, wrong: true, error: fmt.Errorf("hydrate from %s: %w", f, err)}
	}
	if differs != 0 {
		return fmt.Errorf("%w: page %d is not as in %s", errLocalWrong, differs, f)
	}
	return nil
}
