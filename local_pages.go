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
	file   *pagefile.File
	size   int64                           // of a page, bytes
	did    func(op string) error           // Options.onDisk
	readAt func(p []byte, off int64) error // that of the file; tests change it

	held  atomic.Pointer[heldPages] // replaced under mu; nil: nothing is to be used
	count atomic.Int64              // pages present
	total atomic.Int64              // pages of the view

	// mu is held for reading by those who write pages, for writing to change
	// held. Disk writes happen under it, reads never.
	mu sync.RWMutex
}

// heldPages says what is in the file: the pages of a view whose bits are set.
//
// Before a page is overwritten, its bit is cleared, and after that a view that
// has it in another version takes the place of the one before. So a reader who
// finds the same bitmap after reading as before, with the bit set and the
// version that it wants, has read that version. Where everything is dropped,
// the next bitmap is another one.
type heldPages struct {
	view    *view
	present *bitmap
}

// has tells whether a page is there in the version of another view.
func (s *heldPages) has(v *view, pgno uint32) bool {
	if s == nil || s.view.epoch != v.epoch || !s.present.has(pgno) {
		return false
	}
	if s.view == v {
		return true
	}
	a, ok := s.view.lookup(pgno)
	if !ok {
		return false
	}
	b, ok := v.lookup(pgno)
	return ok && a.version == b.version
}

// hasKey is has by the version itself.
func (s *heldPages) hasKey(key pageKey) bool {
	if s == nil || s.view.epoch != key.epoch || !s.present.has(key.pgno) {
		return false
	}
	loc, ok := s.view.lookup(key.pgno)
	return ok && loc.version == key.version
}

func newLocalPages(file *pagefile.File, pageSize uint32, onDisk func(string) error) *localPages {
	if onDisk == nil {
		onDisk = func(string) error { return nil }
	}
	return &localPages{file: file, size: int64(pageSize), did: onDisk, readAt: file.ReadAt}
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

// clone returns a copy.
func (b *bitmap) clone() *bitmap {
	c := make(bitmap, len(*b))
	for i := range c {
		c[i].Store((*b)[i].Load())
	}
	return &c
}

func (b *bitmap) has(pgno uint32) bool {
	i := uint64(pgno) - 1
	return i/64 < uint64(len(*b)) && (*b)[i/64].Load()>>(i%64)&1 != 0
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

// missingIn calls fn with the pages from first to last that are not there, one
// after the other, until it returns false. What the set has no room for is left
// out.
func (b *bitmap) missingIn(first, last uint32, fn func(pgno uint32) bool) {
	if first == 0 {
		return
	}
	last = uint32(min(uint64(last), uint64(len(*b))*64))
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
	before := l.held.Load()
	if !before.has(v, pgno) {
		return errNotHere
	}
	err := l.readAt(p, int64(pgno-1)*l.size)
	if after := l.held.Load(); after == nil || after.present != before.present || !after.has(v, pgno) {
		return errNotHere // it may have been overwritten meanwhile, or the file emptied
	}
	return err
}

// readKey is read by the version itself, into new memory.
func (l *localPages) readKey(key pageKey) ([]byte, error) {
	before := l.held.Load()
	if !before.hasKey(key) {
		return nil, errNotHere
	}
	p := make([]byte, l.size)
	err := l.readAt(p, int64(key.pgno-1)*l.size)
	if after := l.held.Load(); after == nil || after.present != before.present || !after.hasKey(key) {
		return nil, errNotHere
	}
	return p, err
}

// has tells whether a page of a view is here.
func (l *localPages) has(v *view, pgno uint32) bool { return l.held.Load().has(v, pgno) }

// hasKey is has by the version itself.
func (l *localPages) hasKey(key pageKey) bool { return l.held.Load().hasKey(key) }

// view returns the view whose pages are here, nil if there is none any more.
func (l *localPages) view() *view {
	if held := l.held.Load(); held != nil {
		return held.view
	}
	return nil
}

// hold makes the pages those of another view. What it has in other versions
// is not present any more.
func (l *localPages) hold(next *view) error {
	if int64(next.pageSize) != l.size {
		return fmt.Errorf("a file of pages of %d bytes cannot hold those of %d", l.size, next.pageSize)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Grow(next.fileSize()); err != nil {
		return err
	}
	held := l.held.Load()
	var present *bitmap
	if held == nil || held.view.epoch != next.epoch {
		present = newBitmap(next.commit)
		l.count.Store(0)
	} else {
		present = held.present
		eachDifference(&held.view.pages, &next.pages, func(pgno uint32) {
			if present.clear(pgno) {
				l.count.Add(-1)
			}
		})
		if uint64(len(*present)) < (uint64(next.commit)+63)/64 {
			larger := newBitmap(next.commit)
			for i := range *present {
				(*larger)[i].Store((*present)[i].Load())
			}
			present = larger
		}
	}
	l.total.Store(next.pages.len())
	l.held.Store(&heldPages{next, present})
	return nil
}

// drop forgets everything: nothing is served from here until the next hold.
func (l *localPages) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held.Store(nil)
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
	if held == nil {
		return false
	}
	if held.view.epoch != key.epoch || key.version > held.view.txid {
		return true
	}
	loc, ok := held.view.lookup(key.pgno)
	return ok && loc.version == key.version && !held.present.has(key.pgno)
}

// missing returns how many pages of the view that is held are not here.
func (l *localPages) missing() int64 { return l.total.Load() - l.count.Load() }

// put writes pages side by side, from first on, with their versions, unless
// they are here, or not of the view that is held.
func (l *localPages) put(epoch, first uint32, versions []ltx.TXID, data []byte) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	held := l.held.Load()
	if held == nil || held.view.epoch != epoch {
		return nil
	}
	wanted := func(i int) bool {
		pgno := first + uint32(i)
		loc, ok := held.view.lookup(pgno)
		return ok && loc.version == versions[i] && !held.present.has(pgno)
	}
	if err := l.file.CheckSize(); err != nil {
		return err
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
			return fmt.Errorf("write pages %d to %d: %w", first+uint32(from), first+uint32(i)-1, err)
		}
		for k := from; k < i; k++ {
			if held.present.set(first + uint32(k)) {
				l.count.Add(1)
			}
		}
	}
	return nil
}
