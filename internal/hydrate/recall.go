package hydrate

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/view"
)

// Recalled is a state of which a hydration file has every page, as its record
// says. It is known without a request to storage, so it may not be the newest
// state any more.
type Recalled struct {
	View  *view.View
	Fresh time.Time // when the state was last known to be the newest

	record *record
}

// Recall reads the record of the hydration file at a path. If that does not prove
// that the file has every page of one state of a replica, which has the identity that
// Options.Replica is, the error says why not.
func Recall(path, replica string) (*Recalled, error) {
	r, err := recall(path, replica)
	if err != nil {
		return nil, fmt.Errorf("the local file %s does not give a state of the database: %w", path, err)
	}
	return r, nil
}

func recall(path, replica string) (*Recalled, error) {
	raw, err := readRecordFile(path + recordSuffix)
	if err != nil {
		return nil, err
	}
	if len(raw.b) == 0 {
		return nil, errors.New("there is no record of what was copied to it")
	}
	rec, err := completeRecord(parseRecord(raw.b))
	if err != nil {
		return nil, err
	}
	if err := rec.checkReplica(replica); err != nil {
		return nil, err
	}
	// A few bytes of a record can list any number of pages.
	info, err := os.Stat(path)
	if err == nil {
		err = rec.checkSize(info.Size())
	}
	if err != nil {
		return nil, err
	}
	v, err := rec.view()
	if err != nil {
		return nil, err
	}
	return &Recalled{View: v, Fresh: time.UnixMilli(rec.Fresh), record: rec}, nil
}

// checkReplica returns an error if a record may be of another replica than the one with
// an identity. Transactions of two replicas have the same numbers, and only storage has
// more to compare.
func (r *record) checkReplica(identity string) error {
	switch {
	case r.Replica == identity:
		return nil
	case r.Replica == "":
		return errors.New("its record does not say of which replica it is a copy; the next open with storage writes that")
	case identity == "":
		return fmt.Errorf("it is a copy of %s, and nothing tells that this is the replica", r.Replica)
	}
	return fmt.Errorf("it is a copy of %s, and the replica is %s", r.Replica, identity)
}

// completeRecord returns an error for a record that does not list all pages of a
// state.
func completeRecord(rec *record, forgotten map[uint32]bool, err error) (*record, error) {
	switch {
	case err != nil:
	case rec.TXID == 0 || !rec.Complete:
		err = errors.New("its record does not list all pages of a state")
	case len(forgotten) > 0:
		err = fmt.Errorf("%d of its pages have changed since its record was written, and it may lack them", len(forgotten))
	}
	return rec, err
}

// view returns the state that a record describes.
func (r *record) view() (*view.View, error) {
	of := view.Recalled{TXID: r.TXID, Commit: r.Commit, PageSize: r.PageSize, Timestamp: r.Timestamp}
	for _, f := range r.Files {
		of.Files = append(of.Files, view.RecalledFile{
			Key:  view.Key{Level: f.Level, MinTXID: f.MinTXID, MaxTXID: f.MaxTXID},
			Size: f.Size, Timestamp: f.Timestamp, Commit: f.Commit, Checksum: f.Checksum,
		})
	}
	for _, s := range r.Stamps {
		of.Stamps = append(of.Stamps, view.Stamp(s))
	}
	return of.NewView(func(fn func(first, pages uint32, version ltx.TXID)) { eachRun(r.runs, r.Commit, fn) })
}

// adoptRecalled makes the recalled state that of the local pages. It writes
// nothing, so it does not need room on the disk.
func (k *keeper) adoptRecalled(l *localPages, r *Recalled) error {
	rec, err := completeRecord(k.oldRecord(l, r.View))
	if err != nil {
		return err
	}
	// An owner that has ended meanwhile has replaced the record.
	if !rec.isOfStateOf(r.record) {
		return errors.New("another process has replaced its record by that of another state")
	}
	if err := k.checkFile(l, rec, nil); err != nil {
		return err
	}
	k.own(l)
	if err := l.hold(r.View); err != nil {
		return err
	}
	l.adopt(rec.pagesOf(r.View, r.View.TXID, nil, nil))
	l.settleAll()
	k.durable, k.complete, k.written = l.held.Load().present.Clone(), true, time.Now()
	k.count, k.compared = l.count.Load(), l.compared.Load()
	return nil
}

// isOfStateOf reports whether two records tell of the same file, state and history.
func (r *record) isOfStateOf(s *record) bool {
	return r.FileID == s.FileID && r.TXID == s.TXID && r.PageSize == s.PageSize && r.Commit == s.Commit &&
		bytes.Equal(r.runs, s.runs) && maps.Equal(r.names(), s.names())
}

// names returns what identifies the files of a record.
func (r *record) names() map[recordFile]bool {
	all := make(map[recordFile]bool)
	for _, f := range r.Files {
		all[f.recordFile] = true
	}
	return all
}

// settleAll settles all pages, because they were when the record was written. No
// other goroutine uses l yet.
func (l *localPages) settleAll() {
	held := l.held.Load()
	l.held.Store(&heldPages{held.view, held.present, held.present.Clone(), held.compared})
	l.settled.Store(l.count.Load())
}

// OpenRecalled opens the local file with a recalled state, which is the current
// view. If another process owns the file, it borrows it. It is called before
// Start, and Abort ends the use of the file unless Start is called.
func (h *Hydrator) OpenRecalled(r *Recalled) error {
	h.recalled = r
	err := h.open()
	if errors.Is(err, pagefile.ErrLocked) {
		return h.borrowRecalled()
	}
	h.isOpen = err == nil
	return err
}

// borrowRecalled borrows the file of another process for a recalled state.
func (h *Hydrator) borrowRecalled() error {
	lent, err := openLent(h.opts.Path, h.Views, make(chan struct{}, 1))
	if err != nil {
		return fmt.Errorf("borrow %s: %w", h.opts.Path, err)
	}
	lent.compare(h.Access, func(uint64) bool { return false })
	if lent.common.Load() == nil {
		return errors.Join(fmt.Errorf("borrow %s: the process that owns it has another state", h.opts.Path), lent.close())
	}
	h.sharing.lent = lent
	h.Tier.lent.Store(lent)
	return nil
}

// Abort ends the use of a file that OpenRecalled has opened.
func (h *Hydrator) Abort() error {
	if h.isOpen {
		h.isOpen = false
		return h.close(nil)
	}
	h.closeLent() // nothing was served yet
	return nil
}
