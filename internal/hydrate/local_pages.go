package hydrate

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/diskhook"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// localPages is a local file in which page pgno is at (pgno-1)*pageSize. It
// holds some pages of one view, and serves a page to every view that has it in
// the same version. It is safe for concurrent use; reads take no lock.
type localPages struct {
	file   *pagefile.File
	size   int64                           // of a page, bytes
	disk   diskhook.Hook                   // Options.OnDisk
	readAt func(p []byte, off int64) error // method of file; tests replace it

	// share tells other processes what is here. It is nil if the file is not shared.
	// It is replaced under mu.
	share atomic.Pointer[pageshare.Table]

	held  atomic.Pointer[heldPages] // replaced under mu; nil: no page is served
	count atomic.Int64              // pages present
	total atomic.Int64              // pages of the view

	settled  atomic.Int64 // pages in heldPages.settled
	compared atomic.Int64 // pages in heldPages.compared
	sums     fileSums     // of frames whose pages are here

	// mu is read-locked to write pages, and locked to change held. Disk writes
	// happen under it, reads do not. Lock order: mu, then the lock of sums.
	mu sync.RWMutex
}

// heldPages tells what is in the file: those pages of a view whose bits are
// set in present.
//
// Before a page is overwritten, its bit is cleared, and then the view is
// replaced by one that has the page in another version. So a reader has read
// the version it wants if it finds, before and after the read, the same bitmap
// with the bit set, and a view with that version. When every page is dropped,
// the next bitmap is another one.
type heldPages struct {
	view    *view.View
	present *view.Bitmap

	// compared has the present pages that a compared checksum covers. Settled
	// has them, and the pages that no checksum can be compared for. A page
	// leaves both when it leaves present.
	settled, compared *view.Bitmap
}

// has reports whether a page is there in the version that v has.
func (s *heldPages) has(v *view.View, pgno uint32) bool {
	if s == nil || s.view.Epoch != v.Epoch || !s.present.Has(pgno) {
		return false
	}
	if s.view == v {
		return true
	}
	a, ok := s.view.Lookup(pgno)
	if !ok {
		return false
	}
	b, ok := v.Lookup(pgno)
	return ok && a.Version == b.Version
}

// hasKey is has for a page version.
func (s *heldPages) hasKey(key pages.Key) bool {
	if s == nil || s.view.Epoch != key.Epoch || !s.present.Has(key.Pgno) {
		return false
	}
	loc, ok := s.view.Lookup(key.Pgno)
	return ok && loc.Version == key.Version
}

func newLocalPages(file *pagefile.File, pageSize uint32, onDisk diskhook.Hook) *localPages {
	return &localPages{file: file, size: int64(pageSize), disk: onDisk, readAt: file.ReadAt}
}

// do runs an operation on the files.
func (l *localPages) do(op string, fn func() error) error { return l.disk.Do(op, fn) }

// errNotHere means that the local file does not have a page in the version that
// was asked for.
var errNotHere = errors.New("page is not here")

// read fills p with a page of a view. The error is errNotHere, or that of the
// file.
func (l *localPages) read(v *view.View, pgno uint32, p []byte) error {
	before := l.held.Load()
	if !before.has(v, pgno) {
		return errNotHere
	}
	err := l.readAt(p, int64(pgno-1)*l.size)
	if after := l.held.Load(); after == nil || after.present != before.present || !after.has(v, pgno) {
		return errNotHere // the page may have been overwritten meanwhile, or the file emptied
	}
	return err
}

// readKey is read for a page version, into new memory.
func (l *localPages) readKey(key pages.Key) ([]byte, error) {
	before := l.held.Load()
	if !before.hasKey(key) {
		return nil, errNotHere
	}
	p := make([]byte, l.size)
	err := l.readAt(p, int64(key.Pgno-1)*l.size)
	if after := l.held.Load(); after == nil || after.present != before.present || !after.hasKey(key) {
		return nil, errNotHere
	}
	return p, err
}

// hasKey reports whether a page version is here.
func (l *localPages) hasKey(key pages.Key) bool { return l.held.Load().hasKey(key) }

// view returns the view whose pages are here, nil if every page was dropped.
func (l *localPages) view() *view.View {
	if held := l.held.Load(); held != nil {
		return held.view
	}
	return nil
}

// hold makes next the view that is held. Pages that it has in other versions
// are not present any more.
func (l *localPages) hold(next *view.View) error {
	if int64(next.PageSize) != l.size {
		return fmt.Errorf("a file of pages of %d bytes cannot hold those of %d", l.size, next.PageSize)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Grow(localSize(next)); err != nil {
		return err
	}
	end := next.Pages.End()
	share := l.share.Load()
	if share != nil {
		share.Moved(l.file.MarkAt())
		if isSparse(next) {
			share.Withdraw()
		}
		_ = share.Room(end) // otherwise the file is not shared any more
	}
	held := l.held.Load()
	if held == nil || held.view.Epoch != next.Epoch {
		l.count.Store(0)
		l.settled.Store(0)
		l.compared.Store(0)
		l.sums.forget(nil)
		share.Renew(next.PageSize)
		held = &heldPages{present: view.NewBitmap(end), settled: view.NewBitmap(end), compared: view.NewBitmap(end)}
	} else {
		view.EachDifference(&held.view.Pages, &next.Pages, func(pgno uint32) {
			if held.present.Clear(pgno) {
				l.count.Add(-1)
				share.Clear(pgno)
			}
			if held.settled.Clear(pgno) {
				l.settled.Add(-1)
			}
			if held.compared.Clear(pgno) {
				l.compared.Add(-1)
			}
		})
	}
	if err := share.Err(); err != nil {
		return err // borrowers would take the pages of next for those of before
	}
	l.total.Store(next.Pages.Len())
	l.held.Store(&heldPages{next, held.present.RoomFor(end), held.settled.RoomFor(end), held.compared.RoomFor(end)})
	l.publish(next)
	return nil
}

// localSlack is how many bytes a local file may be longer than twice its pages.
const localSlack = 64 << 20

// localSize returns the length of the local file of a view. It is that of the
// database, unless hardly any of its pages exist.
func localSize(v *view.View) int64 {
	n := int64(v.Pages.End()) * int64(v.PageSize)
	if size := v.FileSize(); size <= 2*n+localSlack {
		return size
	}
	return n
}

// sparseSlack is how many pages a view that is shared may lack more than it has.
const sparseSlack = 1 << 20

// isSparse reports whether hardly any of the pages of a view exist. The table of
// its file would be larger than the file.
func isSparse(v *view.View) bool { return int64(v.Pages.End()) > 2*v.Pages.Len()+sparseSlack }

// drop forgets every page. None is served until the next hold.
func (l *localPages) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held.Store(nil)
	l.share.Load().Renew(uint32(l.size))
	l.count.Store(0)
	l.total.Store(0)
	l.settled.Store(0)
	l.compared.Store(0)
	l.sums.forget(nil)
}

// wants reports whether a page is of use here, or may be soon. A nil localPages
// is one that is about to be opened.
func (l *localPages) wants(key pages.Key) bool {
	if l == nil {
		return true
	}
	held := l.held.Load()
	if held == nil {
		return false
	}
	if held.view.Epoch != key.Epoch || key.Version > held.view.TXID {
		return true
	}
	loc, ok := held.view.Lookup(key.Pgno)
	return ok && loc.Version == key.Version && !held.present.Has(key.Pgno)
}

// missing returns how many pages of the view that is held are not here.
func (l *localPages) missing() int64 { return l.total.Load() - l.count.Load() }

// isComplete reports whether all pages are here, and every checksum that can be
// compared was.
func (l *localPages) isComplete() bool {
	return l.held.Load() != nil && l.missing() == 0 && l.settled.Load() == l.total.Load()
}

// write writes successive pages from first on, which have these versions. It
// leaves out the pages that are here already, and those that are not of the
// view that is held. It returns how many were here already, with these bytes or
// others.
func (l *localPages) write(epoch, first uint32, versions []ltx.TXID, data []byte) (already int, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	held := l.held.Load()
	if held == nil || held.view.Epoch != epoch {
		return 0, nil
	}
	wanted := func(i int) bool {
		pgno := first + uint32(i)
		loc, ok := held.view.Lookup(pgno)
		if !ok || loc.Version != versions[i] {
			return false
		}
		if held.present.Has(pgno) {
			already++
			return false
		}
		return true
	}
	if err := l.file.CheckSize(); err != nil {
		return 0, err
	}
	for i := 0; i < len(versions); {
		if !wanted(i) {
			i++
			continue
		}
		from := i
		for i++; i < len(versions) && wanted(i); i++ {
		}
		if err := l.do("write pages", func() error {
			return l.file.WriteAt(data[int64(from)*l.size:int64(i)*l.size], (int64(first)-1+int64(from))*l.size)
		}); err != nil {
			return already, fmt.Errorf("write pages %d to %d: %w", first+uint32(from), first+uint32(i)-1, err)
		}
		l.share.Load().Put(first+uint32(from), versions[from:i])
		for k := from; k < i; k++ {
			if held.present.Set(first + uint32(k)) {
				l.count.Add(1)
			} else {
				already++ // another goroutine has written it meanwhile, and this write replaced it
			}
		}
	}
	return already, nil
}
