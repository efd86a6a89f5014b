package litestream

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"log/slog"
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
	log  *slog.Logger
	file *pagefile.File
	path string // of the record

	old []byte // the record that was there when the file was opened

	durable   *bitmap // pages that the record lists
	sum       uint64  // checksum that goes on with what is appended
	forgotten int     // pages appended since it was written
	torn      bool    // what was appended last may be there in part
	written   time.Time
	count     int64 // pages present when a checkpoint was made, -1 if something else was written since
	compared  int64 // pages that a checksum covered then
	complete  bool  // a checkpoint was made when hydration was complete
}

// openKept opens the hydration file at a path. A file that has no record beside
// it might be anybody's, and is refused, as is a record that is none.
func openKept(path string, log *slog.Logger) (*pagefile.File, *keeper, error) {
	k := &keeper{log: log, path: path + recordSuffix}
	old, err := readRecordFile(k.path)
	if err != nil {
		return nil, nil, err
	}
	k.file, err = pagefile.Open(path, func(_ *os.File, info fs.FileInfo) error {
		if info.Size() > 0 && old == nil {
			return fmt.Errorf("there is no record of a hydration at %s; remove the file, or give another path", k.path)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	// Another process may have written another one before the file was locked.
	if k.old, err = readRecordFile(k.path); err == nil && k.old == nil && k.file.Size() > 0 {
		err = fmt.Errorf("%s was removed just now", k.path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, k.file.Close())
	}
	return k.file, k, nil
}

// recordSuffix is what the path of a record has at its end, after that of the
// hydration file.
const recordSuffix = "-hydration"

// resume has the local pages begin with those that an earlier process left, as
// far as they are of a view.
func (k *keeper) resume(l *localPages, v *view, r *replicaAccess) error {
	if len(k.old) > 0 {
		pages, err := k.trusted(l, v, r)
		if r.tasks.Closed() {
			return context.Cause(r.tasks.Context())
		}
		if err == nil {
			return k.begin(l, v, pages)
		}
		if errors.Is(err, errUnknown) {
			return err
		}
		k.log.Warn("the hydration file cannot be used, hydration starts over", "file", k.file.Path(), "reason", err)
	}
	// In this order: a file that is not empty has a record.
	if err := k.discard(l); err != nil {
		return err
	}
	if err := k.file.Reset(); err != nil {
		return err
	}
	return k.begin(l, v, trustedPages{})
}

// trustedPages are pages of a hydration file that are as in a view.
type trustedPages struct {
	set      *bitmap // nil: none
	n        int64
	compared *bitmap // of these, pages that a compared checksum covers
	covered  int64
}

func (k *keeper) begin(l *localPages, v *view, pages trustedPages) error {
	if err := l.hold(v); err != nil {
		return err
	}
	if pages.set != nil {
		l.adopt(pages)
		k.log.Info("hydration goes on with what is in the file", "file", k.file.Path(), "pages", pages.n, "of", l.total.Load())
	}
	return k.checkpoint(l)
}

// adopt makes pages present of which it is known that they are in the file.
// Nobody uses l yet.
func (l *localPages) adopt(pages trustedPages) {
	l.held.Store(&heldPages{l.view(), pages.set, pages.compared.clone(), pages.compared})
	l.count.Store(pages.n)
	l.settled.Store(pages.covered)
	l.compared.Store(pages.covered)
}

// checkpointIfDue is checkpoint, where something has changed for long enough,
// or hydration is complete for the first time.
func (k *keeper) checkpointIfDue(l *localPages) error {
	switch {
	case l.view() == nil, l.count.Load() == k.count && l.compared.Load() == k.compared && k.forgotten == 0:
		return nil
	case time.Since(k.written) < checkpointEvery && (k.complete || !l.isComplete()):
		return nil
	}
	return k.checkpoint(l)
}

// checkpoint has the record list every page that is present.
func (k *keeper) checkpoint(l *localPages) error {
	held := l.held.Load()
	if held == nil {
		return nil // somebody found the file broken
	}
	set := held.present.clone()
	count, compared, complete := l.count.Load(), l.compared.Load(), l.isComplete()
	// What was present before it is on disk after it.
	if err := l.do("sync", k.file.Sync); err != nil {
		return fmt.Errorf("sync %s: %w", k.file.Path(), err)
	}
	if err := k.file.CheckSize(); err != nil {
		return err
	}
	if err := k.write(l, held.view, set); err != nil {
		return err
	}
	k.count, k.compared, k.complete = count, compared, k.complete || complete
	return nil
}

// recordOf returns a record of a view, without its pages.
func (k *keeper) recordOf(v *view) *record {
	r := &record{recordHeader: recordHeader{PageSize: v.pageSize, Commit: v.commit, TXID: v.txid}}
	files := v.files()
	if v.last != nil { // else the database is yet to be made
		files[v.last.key()] = v.last
	}
	for _, f := range files {
		r.Files = append(r.Files, recordFile{f.level, f.minTXID, f.maxTXID, f.size, f.checksum})
	}
	return r
}

// discard has the record list no pages.
func (k *keeper) discard(l *localPages) error {
	k.complete = false
	return k.replace(l, &record{recordHeader: recordHeader{PageSize: uint32(l.size)}}, new(bitmap))
}

// write replaces the record by one of some pages of a view.
func (k *keeper) write(l *localPages, v *view, set *bitmap) error {
	r := k.recordOf(v)
	var pgnos []uint32
	var w, compared runsWriter
	held := l.held.Load()
	n, next := int64(0), uint32(1)
	step := max(1, v.pages.len()/maxSamples)
	v.pages.eachMissing(nil, 1, v.commit, func(pgno uint32, loc frameLoc) bool {
		if !set.has(pgno) {
			return true
		}
		covers := ltx.TXID(0)
		if held != nil && held.compared.has(pgno) {
			covers = 1
		}
		w.add(0, pgno-next)
		w.add(loc.version, 1)
		compared.add(0, pgno-next)
		compared.add(covers, 1)
		if next = pgno + 1; n%step == 0 && len(pgnos) < maxSamples {
			pgnos = append(pgnos, pgno)
		}
		n++
		return true
	})
	w.flush()
	compared.flush()
	r.runs, r.Compared = w.b, compared.b
	for _, pgno := range pgnos {
		page := make([]byte, l.size)
		if err := k.file.ReadAt(page, int64(pgno-1)*l.size); err != nil {
			return err
		}
		r.Samples = append(r.Samples, sample{pgno, crc64.Checksum(page, recordTable)})
	}
	return k.replace(l, r, set)
}

// replace replaces the record by one that lists a set of pages.
func (k *keeper) replace(l *localPages, r *record, set *bitmap) error {
	if err := k.checkThere(); err != nil {
		return err
	}
	b, sum, err := r.encode()
	if err != nil {
		return err
	}
	k.torn = true // until it is known to be the new one
	if err := l.do("write record", func() error { return writeRecordFile(k.path, b) }); err != nil {
		return fmt.Errorf("write hydration record: %w", err)
	}
	k.durable, k.sum, k.forgotten, k.torn, k.written, k.count = set, sum, 0, false, time.Now(), -1
	return nil
}

// checkThere returns an error if the record would be that of another file.
func (k *keeper) checkThere() error {
	if !k.file.IsThere() {
		return fmt.Errorf("the hydration file %s was removed or replaced", k.file.Path())
	}
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
	if len(pgnos) > 0 {
		if err := k.exclude(l, held, pgnos); err != nil {
			return err
		}
	}
	return l.hold(next)
}

// exclude takes pages out of the record.
func (k *keeper) exclude(l *localPages, held *view, pgnos []uint32) error {
	if k.torn || k.forgotten+len(pgnos) > maxForgotten {
		set := k.durable.clone()
		for _, pgno := range pgnos {
			set.clear(pgno)
		}
		return k.write(l, held, set)
	}
	if err := k.checkThere(); err != nil {
		return err
	}
	b, sum := encodeForgotten(pgnos, k.sum)
	k.torn = true // until it is known to be there
	if err := l.do("append to record", func() error { return appendRecordFile(k.path, b) }); err != nil {
		return fmt.Errorf("append to hydration record: %w", err)
	}
	for _, pgno := range pgnos {
		k.durable.clear(pgno)
	}
	k.sum, k.torn = sum, false
	k.forgotten += len(pgnos)
	return nil
}
