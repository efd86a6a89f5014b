package compact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/replica"
)

// compact merges files of the level below into one that follows the newest file of
// a level. It reports whether it made a file, and whether more files are left than
// can be merged at once.
func (c *compactor) compact(level int) (made, more bool, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	last, err := c.end(ctx, level)
	if err != nil {
		return false, false, err
	}
	seek := last + 1
	if level > 1 {
		seek = c.from[level]
	}
	files, err := c.Store.List(ctx, level-1, seek, false)
	if files = c.withoutForeign(files); err != nil || len(files) == 0 {
		return false, false, err
	}
	// Files after the current view are not merged: a writer that has lost may have
	// left them.
	inputs, err := Next(level, last, c.Views.Current.Load().TXID, files, listings{c, ctx, level})
	if errors.Is(err, ErrLevelGap) {
		c.Suspect()
	}
	if err != nil || len(inputs) == 0 {
		return false, false, err
	}
	all := len(inputs)
	inputs = AtOnce(inputs)
	cur := c.Views.Current.Load()
	info, err := c.merge(cur, level, inputs)
	if err != nil {
		return false, false, err
	}
	return true, len(inputs) < all, c.use(info, cur)
}

// listings makes the listings that Next needs for a level.
type listings struct {
	c     *compactor
	ctx   context.Context
	level int
}

func (l listings) Below() ([]*ltx.FileInfo, error) {
	files, err := l.c.Store.List(l.ctx, l.level-1, 0, false)
	return l.c.withoutForeign(files), err
}

func (l listings) All() ([]*ltx.FileInfo, error) { return l.c.Store.ListAll(l.ctx, false) }

// end returns the newest transaction of a level. Once it knows the newest file, it
// lists only from there.
func (c *compactor) end(ctx context.Context, level int) (last ltx.TXID, err error) {
	files, err := c.Store.List(ctx, level, c.from[level], false)
	if err == nil && len(files) == 0 && c.from[level] > 0 {
		files, err = c.Store.List(ctx, level, 0, false)
	}
	c.from[level] = 0
	for _, f := range files {
		if f.MaxTXID > last {
			last, c.from[level] = f.MaxTXID, f.MinTXID
		}
	}
	return last, err
}

// mergeAhead is how many inputs are read at a time. A backlog of thousands of small
// files would take a round trip each, and longer than a merge may.
const mergeAhead = 16

// requestSize is how many bytes a request counts for when the time of a merge is
// limited, since thousands of small files take longer than their bytes.
const requestSize = 16 << 10

// merge merges inputs, which follow each other and hold transactions of view cur, into
// one file of a level. It returns nil if a file of that name exists.
func (c *compactor) merge(cur *view.View, level int, inputs []*ltx.FileInfo) (*ltx.FileInfo, error) {
	var size int64
	for _, f := range inputs {
		size += f.Size + requestSize
	}
	start := time.Now()
	ctx, cancel := c.within(2 * size)
	defer cancel()
	key := view.Key{Level: level, MinTXID: inputs[0].MinTXID, MaxTXID: inputs[len(inputs)-1].MaxTXID}
	if level == replica.SnapshotLevel {
		key.MinTXID = 1
	}
	m := Merger{Load: c.load, Ahead: mergeAhead, Check: func(f *ltx.FileInfo, header []byte) error { return c.checkInput(cur, f, header) }}
	info, err := c.Store.Create(ctx, key, func(w io.Writer) error { return m.Merge(ctx, w, inputs) })
	if errors.Is(err, fs.ErrExist) {
		return nil, nil // another process has made the file
	}
	if err != nil {
		return nil, fmt.Errorf("compact to level %d: %w", level, err)
	}
	remember(c.unread, key)
	c.Notes.Made(info)
	c.Log.Debug("compacted", "file", view.KeyOf(info), "inputs", len(inputs), "bytes", info.Size, "duration", time.Since(start))
	return info, nil
}

// errForeign means that a file has another transaction than the one of its name.
var errForeign = errors.New("a late writer has made a file again whose transaction was compacted")

// checkInput returns an error if the header of an input shows that the file does
// not have the transactions of view v. Another writer may have hung until a name
// was free again, and has not taken its file back yet. A snapshot has the time of
// its creation, which proves nothing.
func (c *compactor) checkInput(v *view.View, f *ltx.FileInfo, header []byte) error {
	want, dated := v.StampOf(f.MaxTXID)
	var hdr ltx.Header
	if !dated || f.Level == replica.SnapshotLevel || hdr.UnmarshalBinary(header) != nil || hdr.Timestamp == want {
		return nil // a damaged header fails the merge
	}
	if len(c.foreign) >= mostThere {
		clear(c.foreign)
	}
	c.foreign[view.KeyOf(f)] = view.ListingOf(f)
	return fmt.Errorf("%w: %s", errForeign, view.KeyOf(f))
}

// withoutForeign returns the listed files except those which checkInput has
// refused.
func (c *compactor) withoutForeign(files []*ltx.FileInfo) []*ltx.FileInfo {
	if len(c.foreign) == 0 {
		return files
	}
	return slices.DeleteFunc(slices.Clone(files), func(f *ltx.FileInfo) bool {
		l, known := c.foreign[view.KeyOf(f)]
		return known && l.Is(view.ListingOf(f))
	})
}

// use makes the pages of the newest view point to a file that was merged of files of
// view since, so that its inputs are not needed any more. It does nothing for a nil
// file.
func (c *compactor) use(info *ltx.FileInfo, since *view.View) error {
	if info == nil {
		return nil
	}
	ctx, cancel := c.within(0)
	defer cancel()
	l, err := c.readBack(ctx, info)
	if err != nil {
		return err
	}
	return c.PointTo(l, since)
}

// load reads a part of a listed file.
func (c *compactor) load(ctx context.Context, info *ltx.FileInfo, buf []byte, offset int64) error {
	return c.Store.Load(remote.AsListed(ctx, info), view.KeyOf(info), buf, offset)
}
