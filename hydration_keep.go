package litestream

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"os"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/pagefile"
)

const (
	// checkpointEvery is the least time between two checkpoints of a hydration
	// file that changes.
	checkpointEvery = 10 * time.Second

	// maxForgotten is how many pages are appended to a record before it is
	// written anew.
	maxForgotten = 1 << 18

	maxSamples = 32
)

// keeper makes a hydration file survive restarts and crashes: it keeps the
// record of it. One goroutine uses it, that which changes what the local pages
// are of.
type keeper struct {
	h    *hydrator
	file *pagefile.File
	path string // of the record

	old []byte // the record that was there when the file was opened

	durable   *bitmap // pages that the record lists
	sum       uint64  // checksum that goes on with what is appended
	forgotten int     // pages appended since it was written
	written   time.Time
	count     int64 // pages present when it was written
}

// openKept opens the hydration file at a path.
func openKept(h *hydrator, path string) (*pagefile.File, *keeper, error) {
	file, err := pagefile.Open(path)
	if err != nil {
		return nil, nil, err
	}
	k := &keeper{h: h, file: file, path: path + "-hydration"}
	k.old, err = readRecordFile(k.path)
	if err == nil && k.old == nil && file.Size() > 0 {
		// Nobody knows what it is, so it is not for us to overwrite.
		aside := fmt.Sprintf("%s.%d", path, time.Now().UnixMilli())
		h.db.log.Warn("the file at the hydration path is no hydration file; it is moved aside", "file", path, "to", aside)
		if err = errors.Join(os.Rename(path, aside), file.Close()); err == nil {
			k.file, err = pagefile.Open(path)
		}
		if err != nil {
			return nil, nil, err
		}
		return k.file, k, nil
	}
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	return file, k, nil
}

// resume has the local pages begin with those that an earlier process left.
func (k *keeper) resume(l *localPages) error {
	if len(k.old) > 0 {
		pages, err := k.trusted(l)
		k.old = nil
		if k.h.db.ctx.Err() != nil {
			return context.Cause(k.h.db.ctx)
		}
		if err == nil {
			return k.begin(l, pages)
		}
		k.h.db.log.Warn("the hydration file cannot be used, hydration starts over", "file", k.file.Path(), "reason", err)
	}
	// In this order: a file that is not empty has a record.
	if err := k.discard(l); err != nil {
		return err
	}
	if err := k.file.Reset(); err != nil {
		return err
	}
	return k.begin(l, trustedPages{})
}

// discard has the record list no pages.
func (k *keeper) discard(l *localPages) error {
	return k.write(l, &record{recordHeader: recordHeader{PageSize: uint32(l.size)}}, new(bitmap))
}

// trustedPages are pages of a hydration file that are as in a view.
type trustedPages struct {
	view *view
	set  *bitmap
	n    int64
}

func (k *keeper) begin(l *localPages, pages trustedPages) error {
	v := pages.view
	if v == nil {
		v = k.h.db.current.Load()
	}
	if err := l.hold(v); err != nil {
		return err
	}
	if pages.set != nil {
		l.adopt(pages.set, pages.n)
		k.h.db.log.Info("hydration goes on with what is in the file", "file", k.file.Path(), "pages", pages.n, "of", l.total.Load())
	}
	return k.checkpoint(l)
}

// adopt makes pages present of which it is known that they are in the file.
// Nobody uses l yet.
func (l *localPages) adopt(set *bitmap, n int64) {
	present := l.present.Load()
	for i := range *present {
		(*present)[i].Store((*set)[i].Load())
	}
	l.count.Store(n)
}

// checkpointIfDue is checkpoint, where enough has changed for long enough.
func (k *keeper) checkpointIfDue(l *localPages) error {
	count := l.count.Load()
	if count == k.count && k.forgotten == 0 || time.Since(k.written) < checkpointEvery && l.missing() > 0 ||
		time.Since(k.written) < checkpointEvery && k.count == l.total.Load() {
		return nil
	}
	return k.checkpoint(l)
}

// checkpoint has the record list every page that is present.
func (k *keeper) checkpoint(l *localPages) error {
	held, present := l.held.Load(), l.present.Load()
	set := newBitmap(held.commit)
	for i := range *set {
		(*set)[i].Store((*present)[i].Load())
	}
	// What was present before it is on disk after it.
	if err := l.do("sync", k.file.Sync); err != nil {
		return fmt.Errorf("sync %s: %w", k.file.Path(), err)
	}
	return k.write(l, k.recordOf(held), set)
}

// recordOf returns a record of a view, without its pages.
func (k *keeper) recordOf(v *view) *record {
	r := &record{recordHeader: recordHeader{PageSize: v.pageSize, Commit: v.commit, TXID: v.txid}}
	files := v.files()
	files[v.last.key()] = v.last
	for _, f := range files {
		r.Files = append(r.Files, recordFile{f.level, f.minTXID, f.maxTXID, f.size, f.checksum})
	}
	return r
}

// write replaces the record by one of some pages of the view that is held.
func (k *keeper) write(l *localPages, r *record, set *bitmap) error {
	if !k.file.IsThere() {
		return fmt.Errorf("the hydration file %s was removed or replaced", k.file.Path())
	}
	held := l.held.Load()
	var pgnos []uint32
	if r.Commit > 0 {
		step := max(1, r.Commit/maxSamples)
		for pgno := uint32(1); pgno <= r.Commit; pgno++ {
			version := ltx.TXID(0)
			if loc, ok := held.lookup(pgno); ok && set.has(pgno) {
				version = loc.version
				if len(pgnos) < maxSamples && (len(pgnos) == 0 || pgno-pgnos[len(pgnos)-1] >= step) {
					pgnos = append(pgnos, pgno)
				}
			}
			r.runs = appendRun(r.runs, version)
		}
	}
	for _, pgno := range pgnos {
		page := make([]byte, l.size)
		if err := k.file.ReadAt(page, int64(pgno-1)*l.size); err != nil {
			return err
		}
		r.Samples = append(r.Samples, sample{pgno, crc64.Checksum(page, recordTable)})
	}
	b, sum, err := r.encode()
	if err != nil {
		return err
	}
	if err := l.do("write record", func() error { return writeRecordFile(k.path, b) }); err != nil {
		return fmt.Errorf("write hydration record: %w", err)
	}
	k.durable, k.sum, k.forgotten, k.written, k.count = set, sum, 0, time.Now(), l.count.Load()
	return nil
}

// forget makes another view the one that is held. Pages that it has in other
// versions are out of the record before anybody overwrites them.
func (k *keeper) forget(l *localPages, held, next *view) error {
	if held.epoch != next.epoch {
		if err := k.discard(l); err != nil {
			return err
		}
		return l.hold(next)
	}
	var pgnos []uint32
	eachDifference(&held.pages, &next.pages, func(pgno uint32) {
		if k.durable.has(pgno) {
			pgnos = append(pgnos, pgno)
		}
	})
	for _, pgno := range pgnos {
		k.durable.clear(pgno)
	}
	switch {
	case len(pgnos) == 0:
	case k.forgotten+len(pgnos) > maxForgotten:
		if err := k.write(l, k.recordOf(held), k.durable); err != nil {
			return err
		}
	default:
		b, sum := encodeForgotten(pgnos, k.sum)
		if err := l.do("append to record", func() error { return appendRecordFile(k.path, b) }); err != nil {
			return fmt.Errorf("append to hydration record: %w", err)
		}
		k.sum = sum
		k.forgotten += len(pgnos)
	}
	return l.hold(next)
}
