package hydrate

import (
	"context"
	"errors"
	"fmt"
	"hash/crc64"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pageshare"
)

const (
	// checkpointEvery is the time between two checkpoints of a hydration file
	// that changes.
	checkpointEvery = 10 * time.Second

	// maxForgotten is how many pages are excluded by appending to a record,
	// before the record is replaced.
	maxForgotten = 1 << 18

	// maxSamples is how many pages a record has checksums of.
	maxSamples = 32
)

// keeper writes the record of a hydration file, which makes the file survive
// restarts and crashes. It is used by one goroutine, which is the one that
// changes the view of the local pages.
type keeper struct {
	log     *slog.Logger
	fresh   func() time.Time // Access.Fresh
	replica string           // Options.Replica
	file    *pagefile.File
	path    string // of the record

	old    storedRecord // the record as it was when the file was opened
	marked bool         // the file had a mark then
	table  uint64       // generation of the table then

	record *os.File // the record that this keeper has written, for appending; nil: none

	durable   *view.Bitmap // pages that the record lists
	sum       uint64       // checksum of the record, which appending continues
	forgotten int          // pages appended since the record was replaced
	torn      bool         // the last write of the record may have failed midway
	written   time.Time    // when the record was replaced
	closing   bool         // the next checkpoint is the last one
	count     int64        // pages present at the last checkpoint, -1 if the record was replaced since
	compared  int64        // pages that a compared checksum covered then
	complete  bool         // a checkpoint was made when hydration was complete
}

// openKept opens the hydration file at a path. It refuses a file without a
// record beside it, which another program may have made, and a record that does
// not begin like one.
func openKept(path, replica string, log *slog.Logger, fresh func() time.Time) (f *pagefile.File, k *keeper, err error) {
	k = &keeper{log: log, fresh: fresh, replica: replica, path: path + recordSuffix}
	// Nothing is created beside something that is not a record of ours.
	if _, err := readRecordFile(k.path); err != nil {
		return nil, nil, err
	}
	k.file, k.marked, err = pagefile.OpenMarked(path, hasRecord(k.path))
	if err != nil {
		return nil, nil, err
	}
	if err := k.checkNames(path); err != nil {
		return nil, nil, errors.Join(err, k.file.Close())
	}
	// Another process may have replaced the record before the file was locked.
	if k.old, err = readRecordFile(k.path); err == nil && len(k.old.b) == 0 && k.file.Size() > 0 {
		err = fmt.Errorf("%s was removed just now", k.path)
	}
	if err != nil {
		return nil, nil, errors.Join(err, k.file.Close())
	}
	return k.file, k, nil
}

// checkNames makes sure that the path is the only name of the file. Another process
// that knows the file by another name has a record and a table of its own, and those
// at the path may be outdated. A new file takes the place of one with hard links,
// which some backups make. A mount point cannot be replaced.
func (k *keeper) checkNames(path string) error {
	switch is := k.file.Identity(); {
	case is.IsMount:
		return fmt.Errorf("%s is a mount point: mount the folder that it is in", path)
	case is.Names > 1:
		k.log.Warn("the hydration file has other names, which are hard links; a new file takes its place", "file", path)
		file, err := pagefile.CreateMarked(path, k.file, func() error { return nil })
		if err != nil {
			return err
		}
		old := k.file
		k.file, k.marked = file, true
		return old.Close()
	}
	return nil
}

// hasRecord accepts a file that is empty, or has a record at a path. It looks for the
// record after it knows the size, because another process that has just made the file
// has written the record before it has made the file larger.
func hasRecord(path string) ownfile.Check {
	return func(_ *os.File, info fs.FileInfo) error {
		if info.Size() == 0 {
			return nil
		}
		record, err := readRecordFile(path)
		if err == nil && len(record.b) == 0 {
			err = fmt.Errorf("there is no record of a hydration at %s; remove the file, or give another path", path)
		}
		return err
	}
}

// recordSuffix is what the path of a record adds to the path of its hydration
// file.
const recordSuffix = "-hydration"

// resume sets the view of the local pages, with the pages of it that an earlier
// process left in the file. Left are those that its table tells of. A process that
// has borrowed the file knows the history of the table and needs no record. Others
// use the table for what the record lacks, if both belong together, because the record
// has samples of the pages, and storage is asked for its history.
//
// A recalled state is that of the view, and storage need not confirm it. Anew means
// that this process has all pages in another file: then storage is not asked, and
// the pages are copied from there.
func (k *keeper) resume(l *localPages, v *view.View, r *Access, left trustedPages, hasBorrowed, anew bool, recalled *Recalled) error {
	if recalled != nil && recalled.View == v {
		if err := k.adoptRecalled(l, recalled); err == nil || !hasBorrowed {
			return err
		}
	}
	if hasBorrowed && left.n > 0 {
		return k.begin(l, v, left)
	}
	if len(k.old.b) > 0 && !anew {
		pages, ofTable, err := k.trusted(l, v, r)
		if r.Tasks.Closed() {
			return context.Cause(r.Tasks.Context())
		}
		if err == nil {
			if ofTable == k.table {
				pages.add(left, v)
			}
			return k.begin(l, v, pages)
		}
		if errors.Is(err, errUnknown) {
			return err
		}
		k.log.Warn("the hydration file cannot be used, hydration starts over", "file", k.file.Path(), "reason", err)
	}
	k.own(l)
	// The record comes first, because a file that is not empty has one.
	if err := k.discard(l); err != nil {
		return err
	}
	if err := k.file.Reset(); err != nil {
		return err
	}
	return k.begin(l, v, trustedPages{})
}

// trustedPages are pages of a hydration file whose content is that of a view.
type trustedPages struct {
	set      *view.Bitmap // nil: none
	n        int64        // pages in set
	compared *view.Bitmap // pages of set that a compared checksum covers
	covered  int64        // pages in compared
}

// add adds pages of the same view.
func (t *trustedPages) add(more trustedPages, v *view.View) {
	if more.n == 0 {
		return
	}
	v.Pages.EachMissing(t.set, 1, v.Commit, func(pgno uint32, _ view.Loc) bool {
		if more.set.Has(pgno) && t.set.Set(pgno) {
			t.n++
			if more.compared.Has(pgno) && t.compared.Set(pgno) {
				t.covered++
			}
		}
		return true
	})
}

// begin sets the view of the local pages, with the pages that are trusted, and
// writes the first record of that view.
func (k *keeper) begin(l *localPages, v *view.View, pages trustedPages) error {
	k.own(l)
	if err := l.hold(v); err != nil {
		return err
	}
	if pages.set != nil {
		l.adopt(pages)
		k.log.Info("hydration goes on with what is in the file", "file", k.file.Path(), "pages", pages.n, "of", l.total.Load())
	}
	return k.checkpoint(l)
}

// adopt marks pages as present that are in the file already. No other goroutine uses l yet.
func (l *localPages) adopt(pages trustedPages) {
	l.held.Store(&heldPages{l.view(), pages.set, pages.compared.Clone(), pages.compared})
	l.count.Store(pages.n)
	l.settled.Store(pages.covered)
	l.compared.Store(pages.covered)
	if t := l.share.Load(); t != nil {
		l.held.Load().lend(t)
	}
}

// lend tells borrowers of all pages that are present.
func (s *heldPages) lend(t *pageshare.Table) {
	s.view.Pages.EachMissing(nil, 1, s.view.Commit, func(pgno uint32, loc view.Loc) bool {
		if s.present.Has(pgno) {
			t.Put(pgno, []ltx.TXID{loc.Version})
			if s.compared.Has(pgno) {
				t.Compared(pgno)
			}
		}
		return true
	})
}

// checkpointIfDue calls checkpoint if pages have changed and checkpointEvery has
// passed since the last one, or if hydration is complete for the first time.
func (k *keeper) checkpointIfDue(l *localPages) error {
	switch {
	case !k.isBehind(l):
		return nil
	case time.Since(k.written) < checkpointEvery && (k.complete || !l.isComplete()):
		return nil
	}
	return k.checkpoint(l)
}

// isBehind reports whether pages have changed since the last checkpoint.
func (k *keeper) isBehind(l *localPages) bool {
	return l.view() != nil && (l.count.Load() != k.count || l.compared.Load() != k.compared || k.forgotten > 0)
}

// errUnsynced means that pages were given up that could not be brought to the disk.
var errUnsynced = errors.New("pages that were not on the disk yet are given up")

// checkpoint replaces the record by one that lists every page that is present. If the
// file cannot be synced, no page is present any more, and the file has to be opened anew:
// what was written since the last sync may be lost, and the next sync does not tell.
// The pages that the record lists are not, because they are on disk.
func (k *keeper) checkpoint(l *localPages) error {
	held := l.held.Load()
	if held == nil {
		return nil // a reader found the file broken
	}
	count, compared, complete := l.count.Load(), l.compared.Load(), l.isComplete()
	set := held.present.Clone()
	// The pages that were present before the sync are on disk after it.
	if err := l.do("sync", k.file.Sync); err != nil {
		l.drop() // also for borrowers, and for the next owner
		return fmt.Errorf("sync %s: %w; %w", k.file.Path(), err, errUnsynced)
	}
	if err := k.file.CheckSize(); err != nil {
		return err
	}
	if err := k.write(l, held.view, set, complete); err != nil {
		return err
	}
	k.count, k.compared, k.complete = count, compared, k.complete || complete
	return nil
}

// recordOf returns a record of a view, without its pages.
func (k *keeper) recordOf(v *view.View) *record {
	r := &record{recordHeader: recordHeader{
		FileID: k.file.ID().String(), FileNumber: k.file.Identity().Lasting(), Closed: k.closing, Replica: k.replica,
		PageSize: v.PageSize, Commit: v.Commit, TXID: v.TXID, Timestamp: v.Timestamp, Fresh: k.fresh().UnixMilli(),
	}}
	for _, f := range historyOf(v) {
		r.Files = append(r.Files, datedFile{nameOf(f), f.Timestamp, f.Commit})
	}
	for _, s := range v.Stamps() {
		r.Stamps = append(r.Stamps, recordStamp(s))
	}
	return r
}

// recordFiles returns the names of the files that tell the history of a view.
func recordFiles(v *view.View) (all []recordFile) {
	for _, f := range historyOf(v) {
		all = append(all, nameOf(f))
	}
	return all
}

// nameOf returns what identifies a file.
func nameOf(f *view.File) recordFile {
	return recordFile{f.Level, f.MinTXID, f.MaxTXID, f.Size, f.Checksum}
}

// historyOf returns the files that tell the history of a view.
func historyOf(v *view.View) map[view.Key]*view.File {
	files := v.Files()
	if v.Last != nil { // nil if the database is yet to be created
		files[v.Last.Key()] = v.Last
	}
	return files
}

// discard replaces the record by one that lists no pages.
func (k *keeper) discard(l *localPages) error {
	k.complete = false
	return k.replace(l, &record{recordHeader: recordHeader{FileID: k.file.ID().String(), PageSize: uint32(l.size)}}, new(view.Bitmap))
}

// write replaces the record by one that lists some pages of a view. Complete
// tells whether these are all.
func (k *keeper) write(l *localPages, v *view.View, set *view.Bitmap, complete bool) error {
	r := k.recordOf(v)
	r.Complete = complete && !v.HasDoubtful()
	var pgnos []uint32
	var w, compared runsWriter
	held := l.held.Load()
	n, next := int64(0), uint32(1)
	step := max(1, l.count.Load()/maxSamples)
	v.Pages.EachMissing(nil, 1, v.Commit, func(pgno uint32, loc view.Loc) bool {
		if !set.Has(pgno) {
			return true
		}
		covers := ltx.TXID(0)
		if held != nil && held.compared.Has(pgno) {
			covers = 1
		}
		w.add(0, pgno-next)
		w.add(loc.Version, 1)
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

// replace writes a record, which lists a set of pages.
func (k *keeper) replace(l *localPages, r *record, set *view.Bitmap) error {
	if err := k.checkThere(); err != nil {
		return err
	}
	status, _ := l.share.Load().Status()
	r.Table = status.Generation
	if err := k.closeRecord(); err != nil { // some systems replace no open file
		return fmt.Errorf("close hydration record: %w", err)
	}
	k.torn = true // until the write has succeeded
	var written *os.File
	var sum uint64
	if err := l.do("write record", func() (err error) { written, sum, err = writeRecordFile(k.path, r, k.file); return err }); err != nil {
		if written != nil {
			err = errors.Join(err, written.Close())
		}
		return fmt.Errorf("write hydration record: %w", err)
	}
	k.record = written
	k.durable, k.sum, k.forgotten, k.torn, k.written, k.count = set, sum, 0, false, time.Now(), -1
	return nil
}

// closeRecord ends appending to the record.
func (k *keeper) closeRecord() error {
	if k.record == nil {
		return nil
	}
	f := k.record
	k.record = nil
	return f.Close()
}

// close closes the file and its record.
func (k *keeper) close() error { return errors.Join(k.closeRecord(), k.file.Close()) }

// checkThere returns an error if the file is not at its path any more. A record
// that is written then would belong to another file.
func (k *keeper) checkThere() error {
	if !k.file.IsThere() {
		return fmt.Errorf("the hydration file %s was removed or replaced", k.file.Path())
	}
	return nil
}

// forget makes next the view of the local pages. First it takes the pages that next
// has in other versions out of the record, because they may be overwritten
// afterwards. If the last write of the record failed midway, it may list more pages than
// durable has, so it is replaced first.
func (k *keeper) forget(l *localPages, held, next *view.View) error {
	if held.Epoch != next.Epoch {
		if err := k.discard(l); err != nil {
			return err
		}
		return l.hold(next)
	}
	var pgnos []uint32
	view.EachDifference(&held.Pages, &next.Pages, func(pgno uint32) {
		if k.durable.Has(pgno) {
			pgnos = append(pgnos, pgno)
		}
	})
	if len(pgnos) > 0 || k.torn {
		if err := k.exclude(l, held, pgnos); err != nil {
			return err
		}
	}
	return l.hold(next)
}

// exclude takes pages out of the record. It appends their numbers to the record,
// or replaces the record if too many numbers were appended.
func (k *keeper) exclude(l *localPages, held *view.View, pgnos []uint32) error {
	if k.torn || k.record == nil || k.forgotten+len(pgnos) > maxForgotten {
		set := k.durable.Clone()
		for _, pgno := range pgnos {
			set.Clear(pgno)
		}
		return k.write(l, held, set, false)
	}
	if err := k.checkThere(); err != nil {
		return err
	}
	b, sum := encodeForgotten(pgnos, k.sum)
	k.torn = true // until the write has succeeded
	if err := l.do("append to record", func() error { return appendRecordFile(k.record, b) }); err != nil {
		return fmt.Errorf("append to hydration record: %w", err)
	}
	for _, pgno := range pgnos {
		k.durable.Clear(pgno)
	}
	k.sum, k.torn = sum, false
	k.forgotten += len(pgnos)
	return nil
}
