package compact

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// pruneLevel0 deletes files of level 0 that are old enough and whose transactions
// are in files of level 1. It returns the time of the next attempt, zero if no file
// is left to be deleted, except for those that a view needs.
func (c *compactor) pruneLevel0(now time.Time) (again time.Time, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	compacted, err := c.Store.List(ctx, 1, c.pruned, false)
	if err != nil {
		return again, err
	}
	files, err := c.Store.List(ctx, 0, 0, false)
	if err != nil {
		return again, err
	}
	behind := c.behind(files)
	var old []*ltx.FileInfo
	in := 0                                          // index of the first file in compacted that may contain f; both lists are in order
	for _, f := range files[:max(len(files)-1, 0)] { // the newest file stays, because the next one is appended to it
		for in < len(compacted) && compacted[in].MaxTXID < f.MaxTXID {
			in++
		}
		if in == len(compacted) {
			break
		}
		if compacted[in].MinTXID > f.MinTXID {
			continue // level 1 has a gap here
		}
		if age := now.Sub(f.CreatedAt) - behind; age < c.Opts.L0Retention {
			again = now.Add(c.Opts.L0Retention - max(age, 0))
			break
		}
		if err := c.checkThere(ctx, compacted[in]); err != nil {
			return again, err
		}
		old = append(old, f)
	}
	deleted, err := c.delete(ctx, old)
	if deleted > 0 && deleted == len(old) && in < len(compacted) {
		c.pruned = compacted[in].MinTXID // files that a view needs are looked for again
	}
	return again, err
}

// mostAhead is how far the time of a transaction may be ahead of the clock, as those
// of many commits in one millisecond are.
const mostAhead = time.Minute

// behind returns how far the clock of the store is behind that of this process, as far
// as the files show: the newest transaction is older than its file. Without that,
// retention would delete at once what such a store has just got. It is 0 if nothing
// tells, as the time of a transaction does not that was made when the clock was ahead:
// the times of later ones do not go back, so that retention would stand still.
func (c *compactor) behind(files []*ltx.FileInfo) time.Duration {
	cur := c.Views.Current.Load()
	if cur.Base != nil {
		cur = cur.Base // what is not uploaded has no file yet
	}
	var newest *ltx.FileInfo
	for _, f := range files {
		if f.Level == 0 && f.MaxTXID <= cur.TXID && (newest == nil || f.MaxTXID > newest.MaxTXID) {
			newest = f
		}
	}
	if newest == nil {
		return 0
	}
	made := time.UnixMilli(cur.Timestamp)
	if made.Sub(c.Opts.Now()) > mostAhead {
		return 0
	}
	return max(0, made.Sub(newest.CreatedAt))
}

// mostThere bounds the number of files that a compactor remembers in each set.
const mostThere = 10_000

// remember adds a file to a set.
func remember(set map[view.Key]bool, key view.Key) {
	if len(set) >= mostThere {
		clear(set)
	}
	set[key] = true
}

// checkThere reads the end of a listed file before the files that were merged into
// it are deleted. It does so once for each file, and not for files that this process
// has made and read back. Files that it has made and could not read back are read like
// those: the store may have confirmed a damaged upload.
func (c *compactor) checkThere(ctx context.Context, f *ltx.FileInfo) (err error) {
	key := view.KeyOf(f)
	switch {
	case c.there[key]:
		return nil
	case c.unread[key]:
		_, err = c.readBack(ctx, f)
	default:
		_, err = c.Store.Checksum(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("%s is listed but cannot be read, so nothing is deleted: %w", key, err)
	}
	remember(c.there, key)
	return nil
}

// readBack loads a file that this process has made, and remembers that it can be read.
func (c *compactor) readBack(ctx context.Context, f *ltx.FileInfo) (*remote.Loaded, error) {
	l, err := c.Store.LoadFile(ctx, f)
	if err != nil {
		return nil, err
	}
	key := view.KeyOf(f)
	delete(c.unread, key)
	remember(c.there, key)
	return l, nil
}

// delete deletes the files that neither the newest view nor a pinned view points
// to, and returns how many these are.
func (c *compactor) delete(ctx context.Context, files []*ltx.FileInfo) (deleted int, err error) {
	needed := c.needed()
	files = slices.DeleteFunc(files, func(f *ltx.FileInfo) bool { return needed[view.KeyOf(f)] })
	if len(files) == 0 {
		return 0, nil
	}
	keys := make([]view.Key, len(files))
	for i, f := range files {
		keys[i] = view.KeyOf(f)
	}
	if err := c.Store.Delete(ctx, keys...); err != nil {
		return 0, fmt.Errorf("delete files that were compacted: %w", err)
	}
	c.Log.Debug("deleted", "files", len(files), "from", keys[0], "to", keys[len(keys)-1])
	return len(files), nil
}

// needed returns the files that the current view and the pinned views point to.
func (c *compactor) needed() map[view.Key]bool {
	needed := make(map[view.Key]bool)
	cur := c.Views.Current.Load() // read before the pinned views, as a view that is pinned later is no older
	for _, v := range append(c.Pinned(), cur) {
		for _, v := range []*view.View{v, v.Base} {
			if v == nil {
				continue
			}
			for key := range v.Files() {
				needed[key] = true
			}
			if v.Last != nil {
				needed[v.Last.Key()] = true
			}
		}
	}
	return needed
}
