package litestream

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/superfly/ltx"
)

// localPages is a tier: a local file, in which page pgno is at
// (pgno-1)*pageSize. It holds pages of one view, not all of them, and hands
// one out where another view has it in the same version. It is safe for
// concurrent use; who reads takes no lock.
type localPages struct {
	file *pagefile.File
	size int64                 // of a page, bytes
	did  func(op string) error // Options.onDisk

	// held is the view whose pages those present are; nil: none are to be used.
	// Before a page is overwritten, its bit is cleared, and then held replaced by
	// a view that has it in another version. A reader looks at both before and
	// after it reads, and that the bitmap is still the same one: it is not where
	// everything was dropped in between.
	held    atomic.Pointer[view] // replaced under mu
	present atomic.Pointer[bitmap]
	count   atomic.Int64 // pages present
	total   atomic.Int64 // pages in held

	// mu is held for reading by those who write pages, for writing to change
	// held. Disk writes happen under it, reads never.
	mu sync.RWMutex
}

func newLocalPages(file *pagefile.File, pageSize uint32, onDisk func(string) error) *localPages {
	if onDisk == nil {
		onDisk = func(string) error { return nil }
	}
	return &localPages{file: file, size: int64(pageSize), did: onDisk}
}

// do does something to the files.
func (l *localPages) do(op string, fn func() error) error {
	if err := l.did("before: " + op); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return l.did("after: " + op)
}

// bitmap is a set of page numbers, from 1.
type bitmap []atomic.Uint64

func newBitmap(pages uint32) *bitmap {
	b := make(bitmap, (uint64(pages)+63)/64)
	return &b
}

func (b *bitmap) has(pgno uint32) bool {
	i := uint64(pgno) - 1
	return b != nil && i/64 < uint64(len(*b)) && (*b)[i/64].Load()>>(i%64)&1 != 0
}

// set adds a page, and reports whether it was not there.
func (b *bitmap) set(pgno uint32) bool {
	i := uint64(pgno) - 1
	bit := uint64(1) << (i % 64)
	return (*b)[i/64].Or(bit)&bit == 0
}

// clear removes a page, and reports whether it was there.
func (b *bitmap) clear(pgno uint32) bool {
	i := uint64(pgno) - 1
	if i/64 >= uint64(len(*b)) {
		return false
	}
	bit := uint64(1) << (i % 64)
	return (*b)[i/64].And(^bit)&bit != 0
}

// missingIn returns, of the pages from first to last, those that are not
// there, one after the other, until fn returns false.
func (b *bitmap) missingIn(first, last uint32, fn func(pgno uint32) bool) {
	for i := uint64(first) - 1; i < uint64(last); {
		word := ^(*b)[i/64].Load() >> (i % 64)
		if word == 0 {
			i = (i/64 + 1) * 64
			continue
		}
		i += uint64(bits.TrailingZeros64(word))
		if i >= uint64(last) || !fn(uint32(i)+1) {
			return
		}
		i++
	}
}

// errNotHere means that a page is not in the local file in the version that
// was asked for.
var errNotHere = errors.New("page is not here")

// read fills p with a page of a view, or returns errNotHere, or why the file
// cannot be read.
func (l *localPages) read(v *view, pgno uint32, p []byte) error {
	before := l.present.Load()
	if !before.has(pgno) || !l.isSame(l.held.Load(), v, pgno) {
		return errNotHere
	}
	if err := l.file.ReadAt(p, int64(pgno-1)*l.size); err != nil {
		return err
	}
	if l.present.Load() != before || !l.has(v, pgno) {
		return errNotHere // it may have been overwritten meanwhile
	}
	return nil
}

// has tells whether a page of a view is here.
func (l *localPages) has(v *view, pgno uint32) bool {
	return l.present.Load().has(pgno) && l.isSame(l.held.Load(), v, pgno)
}

// isSame tells whether two views have a page in the same version.
func (l *localPages) isSame(held, v *view, pgno uint32) bool {
	if held == nil || held.epoch != v.epoch {
		return false
	}
	if held == v {
		return true
	}
	a, ok := held.lookup(pgno)
	if !ok {
		return false
	}
	b, ok := v.lookup(pgno)
	return ok && a.version == b.version
}

// hasKey is has by the version itself.
func (l *localPages) hasKey(key pageKey) bool {
	held := l.held.Load()
	if held == nil || held.epoch != key.epoch || !l.present.Load().has(key.pgno) {
		return false
	}
	loc, ok := held.lookup(key.pgno)
	return ok && loc.version == key.version
}

// readKey is read by the version itself, into new memory.
func (l *localPages) readKey(key pageKey) ([]byte, error) {
	before := l.present.Load()
	if !l.hasKey(key) {
		return nil, errNotHere
	}
	p := make([]byte, l.size)
	if err := l.file.ReadAt(p, int64(key.pgno-1)*l.size); err != nil {
		return nil, err
	}
	if l.present.Load() != before || !l.hasKey(key) {
		return nil, errNotHere
	}
	return p, nil
}

// hold makes the pages those of another view. What it has in other versions
// is not present any more.
func (l *localPages) hold(next *view) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Grow(next.fileSize()); err != nil {
		return err
	}
	held, present := l.held.Load(), l.present.Load()
	if held == nil || held.epoch != next.epoch {
		present = newBitmap(next.commit)
		l.count.Store(0)
	} else {
		eachDifference(&held.pages, &next.pages, func(pgno uint32) {
			if present.clear(pgno) {
				l.count.Add(-1)
			}
		})
		if had := uint64(len(*present)); had < (uint64(next.commit)+63)/64 {
			larger := newBitmap(next.commit)
			for i := range *present {
				(*larger)[i].Store((*present)[i].Load())
			}
			present = larger
		}
	}
	l.total.Store(next.pages.len())
	// Readers of the old set see the bits that were cleared, or the new view.
	l.held.Store(next)
	l.present.Store(present)
	return nil
}

// drop forgets everything: nothing is served from here until the next hold.
func (l *localPages) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held.Store(nil)
	l.present.Store(nil)
	l.count.Store(0)
	l.total.Store(0)
}

// wants tells whether a page would be of use here, or may be soon. A nil
// localPages is about to be made.
func (l *localPages) wants(key pageKey) bool {
	if l == nil {
		return true
	}
	held := l.held.Load()
	if held == nil || held.epoch != key.epoch || key.version > held.txid {
		return true
	}
	loc, ok := held.lookup(key.pgno)
	return ok && loc.version == key.version && !l.present.Load().has(key.pgno)
}

// missing returns how many pages of the view that is held are not here.
func (l *localPages) missing() int64 { return l.total.Load() - l.count.Load() }

// put writes pages side by side, from first on, with their versions, unless
// they are here, or not of the view that is held. Adopted reports how many
// were new.
func (l *localPages) put(epoch, first uint32, versions []ltx.TXID, data []byte) (adopted int, err error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	held, present := l.held.Load(), l.present.Load()
	if held == nil || held.epoch != epoch {
		return 0, nil
	}
	wanted := func(i int) bool {
		pgno := first + uint32(i)
		loc, ok := held.lookup(pgno)
		return ok && loc.version == versions[i] && !present.has(pgno)
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
			return adopted, fmt.Errorf("write pages %d to %d: %w", first+uint32(from), first+uint32(i)-1, err)
		}
		for k := from; k < i; k++ {
			if present.set(first + uint32(k)) {
				l.count.Add(1)
				adopted++
			}
		}
	}
	return adopted, nil
}
