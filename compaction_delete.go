package litestream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/superfly/ltx"
)

// pruneLevel0 deletes files of level 0 that are in files of level 1 and old
// enough. It returns when to look again, zero if nothing is left to be deleted.
func (c *compactor) pruneLevel0(now time.Time) (again time.Time, err error) {
	ctx, cancel := c.within(0)
	defer cancel()
	compacted, err := c.db.store.list(ctx, 1, c.pruned, false)
	if err != nil {
		return again, err
	}
	files, err := c.db.store.list(ctx, 0, 0, false)
	if err != nil {
		return again, err
	}
	var old []*ltx.FileInfo
	in := 0                                          // of compacted, which are in order as well
	for _, f := range files[:max(len(files)-1, 0)] { // the newest stays: the next one follows it
		for in < len(compacted) && compacted[in].MaxTXID < f.MaxTXID {
			in++
		}
		if in == len(compacted) {
			break
		}
		if compacted[in].MinTXID > f.MinTXID {
			continue // it is in a gap of level 1
		}
		if age := now.Sub(f.CreatedAt); age < c.db.opts.L0Retention {
			again = now.Add(c.db.opts.L0Retention - max(age, 0))
			break
		}
		if err := c.checkThere(ctx, compacted[in]); err != nil {
			return again, err
		}
		old = append(old, f)
	}
	err = c.delete(ctx, old)
	if err == nil && len(old) > 0 && in < len(compacted) {
		c.pruned = compacted[in].MinTXID
	}
	return again, err
}

// mostThere bounds the files that a compactor knows to be there.
const mostThere = 10_000

// checkThere reads the end of a file that is listed, before something is
// deleted for which it stands. That is done once for each, and not for those
// that this process has made.
func (c *compactor) checkThere(ctx context.Context, f *ltx.FileInfo) error {
	if c.there[keyOf(f)] {
		return nil
	}
	if _, err := c.db.store.checksum(ctx, f); err != nil {
		return fmt.Errorf("%s is listed, and nothing is deleted while it cannot be read: %w", keyOf(f), err)
	}
	if len(c.there) >= mostThere {
		clear(c.there)
	}
	c.there[keyOf(f)] = true
	return nil
}

// delete deletes files, but not those that the newest view, or one that a
// connection has pinned, points to.
func (c *compactor) delete(ctx context.Context, files []*ltx.FileInfo) error {
	needed := c.db.neededFiles()
	files = slices.DeleteFunc(files, func(f *ltx.FileInfo) bool { return needed[keyOf(f)] })
	if len(files) == 0 {
		return nil
	}
	keys := make([]fileKey, len(files))
	for i, f := range files {
		keys[i] = keyOf(f)
	}
	if err := c.db.store.delete(ctx, keys...); err != nil {
		return fmt.Errorf("delete files that were compacted: %w", err)
	}
	c.db.log.Debug("deleted", "files", len(files), "from", keys[0], "to", keys[len(keys)-1])
	return nil
}

// neededFiles returns the files that views in use point to.
func (db *database) neededFiles() map[fileKey]bool {
	needed := make(map[fileKey]bool)
	add := func(v *view) {
		for _, v := range []*view{v, v.base} {
			if v == nil {
				continue
			}
			for key := range v.files() {
				needed[key] = true
			}
			if v.last != nil {
				needed[v.last.key()] = true
			}
		}
	}
	add(db.current.Load())
	for _, v := range db.pinned() {
		add(v)
	}
	return needed
}

// pinned returns the views that connections have pinned.
func (db *database) pinned() (pins []*view) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for c := range db.conns {
		for _, v := range []*view{c.held.Load(), c.past.Load()} {
			if v != nil {
				pins = append(pins, v)
			}
		}
	}
	return pins
}
