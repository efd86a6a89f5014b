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

// errLevelGap means that files of a level cannot be merged, because files before
// them are missing.
var errLevelGap = errors.New("files are missing")

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
	if last == 0 {
		last = files[0].MinTXID - 1
	}
	// Files after the current view are not merged: a writer that has lost may have
	// left them.
	limit := c.Views.Current.Load().TXID
	inputs, _ := view.Extend(last, limit, files)
	if len(inputs) == 0 {
		inputs, err = c.afterGap(ctx, level, last, limit, files)
	}
	if err != nil || len(inputs) == 0 {
		return false, false, err
	}
	all := len(inputs)
	inputs = atOnce(inputs)
	info, err := c.merge(level, inputs)
	if err != nil {
		return false, false, err
	}
	return true, len(inputs) < all, c.use(info)
}

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

// afterGap returns the files to merge into a level if the level below lacks the
// files that follow. If other files give the newest state, such as a snapshot that
// fills the hole, these are the files after the gap.
func (c *compactor) afterGap(ctx context.Context, level int, last, limit ltx.TXID, files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
	next := ltx.TXID(0)
	for _, f := range files {
		if f.MinTXID > last+1 && f.MaxTXID <= limit && (next == 0 || f.MinTXID < next) {
			next = f.MinTXID
		}
	}
	if next == 0 {
		return nil, nil // no file is left to be merged
	}
	if level > 1 {
		// Files of several writers may overlap and begin anywhere.
		older, err := c.Store.List(ctx, level-1, 0, false)
		if err != nil {
			return nil, err
		}
		if inputs, _ := view.Extend(last, limit, c.withoutForeign(older)); len(inputs) > 0 {
			return inputs, nil
		}
	}
	all, err := c.Store.ListAll(ctx, false)
	if err != nil {
		return nil, err
	}
	if _, end := view.Extend(0, limit, all); end != limit {
		c.Suspect()
		return nil, fmt.Errorf("%w: level %d has no file with transactions %s to %s", errLevelGap, level-1, last+1, next-1)
	}
	inputs, _ := view.Extend(next-1, limit, files)
	return inputs, nil
}

// merge merges inputs, which follow each other, into one file of a level. It
// returns nil if a file of that name exists.
func (c *compactor) merge(level int, inputs []*ltx.FileInfo) (*ltx.FileInfo, error) {
	var size int64
	for _, f := range inputs {
		size += f.Size
	}
	start := time.Now()
	ctx, cancel := c.within(2 * size)
	defer cancel()
	cur := c.Views.Current.Load()
	key := view.Key{Level: level, MinTXID: inputs[0].MinTXID, MaxTXID: inputs[len(inputs)-1].MaxTXID}
	if level == replica.SnapshotLevel {
		key.MinTXID = 1
	}
	info, err := c.Store.Create(ctx, key, func(w io.Writer) error {
		readers := make([]io.Reader, len(inputs))
		for i, f := range inputs {
			readers[i] = &inputReader{ctx: ctx, s: c.Store, info: f, check: func(header []byte) error { return c.checkInput(cur, f, header) }}
		}
		merger, err := ltx.NewCompactor(w, readers)
		if err != nil {
			return err
		}
		merger.HeaderFlags = ltx.HeaderFlagNoChecksum
		return merger.Compact(ctx)
	})
	if errors.Is(err, fs.ErrExist) {
		return nil, nil // another process has made the file
	}
	if err != nil {
		return nil, fmt.Errorf("compact to level %d: %w", level, err)
	}
	c.there[key] = true
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

// use makes the pages of the newest view point to a merged file, so that its inputs
// are not needed any more. It does nothing for a nil file.
func (c *compactor) use(info *ltx.FileInfo) error {
	if info == nil {
		return nil
	}
	ctx, cancel := c.within(0)
	defer cancel()
	l, err := c.Store.LoadFile(ctx, info)
	if err != nil {
		return err
	}
	return c.PointTo(l)
}

// Inputs of a merge are read in parts of inputPart at most. The parts of all inputs
// together take inputMemory at most.
const (
	inputPart   = 1 << 20
	inputMemory = 64 << 20
)

// atOnce returns the first files, as many as can be merged at once.
func atOnce(files []*ltx.FileInfo) []*ltx.FileInfo {
	memory := int64(0)
	for i, f := range files {
		if memory += min(f.Size, inputPart); memory > inputMemory && i > 1 {
			return files[:i]
		}
	}
	return files
}

// inputReader reads an input of a merge in parts.
type inputReader struct {
	ctx    context.Context
	s      *remote.Store
	info   *ltx.FileInfo
	check  func(header []byte) error // called with the header of the file
	offset int64                     // position of the next part in the file
	rest   []byte                    // bytes that were read and not returned yet
}

func (r *inputReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		n := min(r.info.Size-r.offset, inputPart)
		if n <= 0 {
			return 0, io.EOF
		}
		r.rest = make([]byte, n)
		if err := r.s.Load(remote.AsListed(r.ctx, r.info), view.KeyOf(r.info), r.rest, r.offset); err != nil {
			return 0, err
		}
		if r.offset == 0 && n >= ltx.HeaderSize {
			if err := r.check(r.rest[:ltx.HeaderSize]); err != nil {
				r.rest = nil
				return 0, err
			}
		}
		r.offset += n
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
