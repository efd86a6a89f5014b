package litestream

import (
	"context"
	"errors"
	"fmt"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// isReplaced tells whether the files are of another history than a view that
// was made before they were listed: somebody emptied the replica and began
// it anew. One object that is the same settles it, as do the timestamps of two
// files of the same transactions. Snapshots are stamped when they are made, so
// if these differ their content is compared. Where nothing can tell, it says
// yes: to begin again is safe.
func (db *database) isReplaced(ctx context.Context, before *view, files []*ltx.FileInfo) (bool, error) {
	if before.last == nil {
		return false, nil // there was none
	}
	had := before.files()
	had[before.last.key()] = before.last
	same := len(files) == 0 // trouble, but no news
	var suspect, snapshot *ltx.FileInfo
	var want int64
	for _, info := range files {
		f := had[keyOf(info)]
		switch {
		case f != nil && f.isListedAs(info):
			same = true
		case info.Level == SnapshotLevel:
			if f != nil {
				snapshot = info
			}
		case f != nil && (suspect == nil || suspect.MaxTXID <= info.MaxTXID):
			suspect, want = info, f.timestamp
		case f == nil && suspect == nil && info.MaxTXID == before.txid && before.last.level != SnapshotLevel:
			suspect, want = info, before.last.timestamp
		}
	}
	switch {
	case suspect != nil && (!same || had[keyOf(suspect)] != nil):
		timestamp, err := db.store.timestamp(ctx, suspect)
		if err != nil || timestamp != want {
			return err == nil, err
		}
	case !same && snapshot != nil:
		again, err := db.isMadeAgain(ctx, before, snapshot)
		if err != nil || !again {
			return err == nil, err
		}
	default:
		return !same, nil
	}
	for _, info := range files {
		if f := had[keyOf(info)]; f != nil && !f.isListedAs(info) {
			f.setListed(info) // which spares the next one the question
		}
	}
	return false, nil
}

// isMadeAgain tells whether a snapshot that v knows and that was written
// again holds what it held before. It does if it is as old, or if a primary
// had nothing to add since: then frames have the same sizes, and those at its
// begin are the same.
func (db *database) isMadeAgain(ctx context.Context, v *view, info *ltx.FileInfo) (bool, error) {
	f := v.last
	if f.key() != keyOf(info) {
		f = v.files()[keyOf(info)]
	}
	timestamp, err := db.store.timestamp(ctx, info)
	if err != nil || timestamp == f.timestamp || info.Size != f.size {
		return err == nil && timestamp == f.timestamp, err
	}
	l, err := db.store.loadFile(ctx, info)
	if err != nil {
		return false, err
	}
	same := l.file.head == f.head && l.file.commit == f.commit && l.file.pageSize == f.pageSize
	l.index.Each(func(e ltxio.Entry) bool {
		loc, ok := v.lookup(e.Pgno)
		same = same && (!ok || loc.file != f || loc.offset == e.Offset && loc.size == e.Size)
		return same
	})
	return same, nil
}

// errOvertaken means that somebody published another view meanwhile.
var errOvertaken = errors.New("the view was replaced meanwhile")

// restart begins again with the newest state of another history. Views of
// the one before get no more pages from storage.
func (db *database) restart(ctx context.Context, before *view, files []*ltx.FileInfo) error {
	plan, err := planLatest(0, files)
	if err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	next, pages, err := db.assemble(ctx, plan)
	if err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	next.epoch = before.epoch + 1
	if err := db.replace(before, db.stamp(next)); err != nil {
		return fmt.Errorf("the replica was replaced: %w", err)
	}
	if next.pageSize != before.pageSize {
		db.reader.cache.Store(newPageCache(db.opts.CacheSize, next.pageSize))
	}
	db.cachePages(next, pages)
	db.log.Warn("the replica was replaced by another history, or nothing tells that it is the same", "had", before.txid, "txid", next.txid)
	return nil
}

// epochOf returns the epoch of files that were listed: that of the current
// view, unless the replica was replaced and no poll has noticed yet.
func (db *database) epochOf(ctx context.Context, files []*ltx.FileInfo) (uint32, error) {
	replaced, err := db.isReplaced(ctx, db.current.Load(), files)
	if err == nil && replaced {
		err = db.refresh(ctx).err()
	}
	return db.current.Load().epoch, err
}
