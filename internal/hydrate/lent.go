package hydrate

import (
	"errors"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// lentPages is a local file that another process owns. It is safe for concurrent
// use; reads take no lock.
//
// A word of the table of the file says: the page has had this content since the
// transaction w, in every state up to the one that the owner holds. A view says
// the same of the version that it has of the page, up to its own transaction. If
// both have a state in common, the page is the same in both. They have, if w and
// the version are not newer than upTo, the last transaction that the two
// histories are known to share, and w is not newer than the view. The owner and
// this process need not have read the page from the same LTX file for that. The
// later of w and the version is that state. It must not be a doubtful transaction,
// because older views may have another one under its number.
type lentPages struct {
	file    *pagefile.File
	table   *pageshare.Table
	views   *view.Views
	recheck chan struct{} // holds one if the histories are to be compared again

	wrong uint64 // Status.Wrong that this process knows of; only look uses it

	common atomic.Pointer[sharedHistory] // nil: no page is served
}

// sharedHistory is a history with the size of the pages that it is of.
type sharedHistory struct {
	history
	view     *view.View // that was compared
	pageSize int64
}

// isSame reports whether a page is the same in a view as in the local file, which
// have had it since two transactions.
func (h *sharedHistory) isSame(a, b ltx.TXID) bool { return !h.view.IsDoubtful(max(a, b)) }

// openLent opens the local file at a path that another process owns.
func openLent(path string, views *view.Views, recheck chan struct{}) (*lentPages, error) {
	file, err := pagefile.OpenShared(path)
	if err != nil {
		return nil, err
	}
	table, err := pageshare.Open(path+pageshare.Suffix, tableID(file))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	status, _ := table.Status() // without one, nothing is read either
	return &lentPages{file: file, table: table, views: views, recheck: recheck, wrong: status.Wrong}, nil
}

func (l *lentPages) close() error {
	l.common.Store(nil)
	return errors.Join(l.table.Close(), l.file.Close())
}

// turnedOutWrong reports whether pages of the file were found to be wrong since the
// last call.
func (l *lentPages) turnedOutWrong() bool {
	s, ok := l.table.Status()
	if !ok || s.Wrong == l.wrong {
		return false
	}
	l.wrong = s.Wrong
	return true
}

// isThere reports whether the paths still name the file and its table.
func (l *lentPages) isThere() bool { return l.file.IsThere() && l.table.IsThere() }

// read fills p with a page of a view, and reports whether it is here.
func (l *lentPages) read(v *view.View, pgno uint32, p []byte) bool {
	h := l.common.Load()
	if h == nil || h.epoch != v.Epoch || int64(len(p)) != h.pageSize {
		return false
	}
	loc, ok := v.Lookup(pgno)
	return ok && loc.Version <= h.upTo && l.copy(h, pgno, loc.Version, min(h.upTo, v.TXID), p)
}

// copy fills p with a page of a version if it has had the same content since a
// transaction that is not newer than since.
func (l *lentPages) copy(h *sharedHistory, pgno uint32, of, since ltx.TXID, p []byte) bool {
	ok := l.table.Read(h.generation, pgno, func(version ltx.TXID) bool { return version <= since && h.isSame(version, of) }, func(markAt int64) error {
		return l.file.ReadShared(p, int64(pgno-1)*h.pageSize, markAt)
	})
	if !ok {
		l.noteGeneration(h)
	}
	return ok
}

// noteGeneration asks for another comparison if the table is of another
// generation.
func (l *lentPages) noteGeneration(h *sharedHistory) {
	if s, ok := l.table.Status(); !ok || s.Generation != h.generation {
		task.Signal(l.recheck)
	}
}

// sinceOf returns the newest transaction that a page version is known to be of,
// and false if it is not of the history that is shared.
func (l *lentPages) sinceOf(key pages.Key) (h *sharedHistory, since ltx.TXID, ok bool) {
	h = l.common.Load()
	if h == nil || h.epoch != key.Epoch || key.Version > h.upTo {
		return nil, 0, false
	}
	since = key.Version
	if cur := l.views.Current.Load(); cur.Epoch == key.Epoch {
		if loc, ok := cur.Lookup(key.Pgno); ok && loc.Version == key.Version {
			since = max(since, min(h.upTo, cur.TXID)) // it has not changed up to the newest view
		}
	}
	return h, since, true
}

// readKey is read for a page version, into new memory. It returns nil if the page
// is not here.
func (l *lentPages) readKey(key pages.Key) []byte {
	h, since, ok := l.sinceOf(key)
	if !ok {
		return nil
	}
	if p := make([]byte, h.pageSize); l.copy(h, key.Pgno, key.Version, since, p) {
		return p
	}
	return nil
}

// hasKey reports whether a page version is here.
func (l *lentPages) hasKey(key pages.Key) bool {
	h, since, ok := l.sinceOf(key)
	if !ok {
		return false
	}
	version, _ := l.table.Word(key.Pgno)
	return version != 0 && version <= since && h.isSame(version, key.Version)
}

// compare finds out again which history is shared, if the owner or this process
// has another view than the last time. It returns the state of the table, false
// if that cannot be read.
func (l *lentPages) compare(r *Access, mayAsk func(generation uint64) bool) (pageshare.Status, bool) {
	s, ok := l.table.Status()
	if !ok || l.table.Follow() != nil {
		l.common.Store(nil)
		return s, false
	}
	v, h := r.Views.Current.Load(), l.common.Load()
	stale := h == nil || h.epoch != v.Epoch || h.generation != s.Generation || h.turn != s.Turn || h.upTo < v.TXID ||
		h.view != v && v.HasDoubtful()
	if stale && s.PageSize == v.PageSize && s.State != pageshare.Beginning {
		found := commonHistory(l.table, v, r, mayAsk)
		if h != nil && h.generation == found.generation && h.epoch == found.epoch {
			found.upTo = max(found.upTo, h.upTo) // what was known stays true
		}
		if found.upTo > 0 {
			h = &sharedHistory{found, v, int64(v.PageSize)}
		} else if h != nil && (h.generation != s.Generation || h.epoch != v.Epoch) {
			h = nil
		} else if h != nil {
			h = &sharedHistory{h.history, v, h.pageSize}
		}
		l.common.Store(h)
	}
	return s, true
}

// isComplete reports whether every page of the newest view is here, and no checksum
// is left to be compared.
func (l *lentPages) isComplete() bool {
	v, h := l.views.Current.Load(), l.common.Load()
	s, ok := l.table.Status()
	return ok && h != nil && s.Progress.Settled && h.epoch == v.Epoch && h.generation == s.Generation &&
		h.upTo >= v.TXID && s.TXID == v.TXID
}
