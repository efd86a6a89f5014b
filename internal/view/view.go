// Package view describes the states of a database: which LTX files make a state,
// and where each of its pages lies. A view is immutable. Two rules make a view of
// another view and a file: Advance adds new transactions, and Relocate points
// pages to another place of the same version. The package makes no requests, and
// imports nothing that does.
package view

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// A View is a state of the database: it maps each page to its frame. It is
// immutable and safe for concurrent use. The zero view is the empty state
// before the first transaction.
type View struct {
	TXID      ltx.TXID
	Commit    uint32 // size of the database, in pages
	PageSize  uint32
	Timestamp int64 // of transaction TXID, in milliseconds since the Unix epoch
	Pages     Table

	// Last is the file that contains transaction TXID. It is nil in the zero
	// view.
	Last *File

	// Epoch numbers the histories of the replica that this process has seen.
	// Versions of different epochs are unrelated.
	Epoch uint32

	// stamps holds the timestamps of transactions in ascending order of TXID.
	// It is never changed in place.
	stamps []Stamp

	// doubtful holds the transactions of this view that the replica may have
	// replaced by others. No page of v has a version of these transactions. It is
	// never changed in place.
	doubtful []txidRange

	// Own means that this process wrote the newest transaction. Page 1 as
	// stored then has the schema cookie that was served.
	Own bool

	// Base is the state of the replica that the commits in the write buffer
	// change. It is nil in a view without such commits.
	Base *View

	// State is shared by views that have the same pages at different locations.
	// It is nil in a view that was not published.
	State *State
}

// State holds what connections see of a view besides its pages.
type State struct {
	// Counter is the change counter that page 1 contains. Within a process, no
	// two states of a database have the same counter. It can change: see
	// Views.CountCommit.
	Counter atomic.Uint32

	// PageOne holds the differences between page 1 as served and page 1 as
	// stored. It is kept because SQLite reads the header at the start of every
	// transaction. It is nil until the first read.
	PageOne atomic.Pointer[dbheader.Served]

	// forgotten is Views.Forgotten when the state was made.
	forgotten uint32

	// Moved is the newest view of this state after files that the first view
	// points to were deleted. It is nil if there is none.
	Moved atomic.Pointer[View]
}

// Time returns the timestamp of the view as a time.
func (v *View) Time() time.Time { return time.UnixMilli(v.Timestamp).UTC() }

// cookieStep separates the schema cookies of two epochs. A schema change
// increments the cookie by one.
const cookieStep = 0x9e3779b1

// CookieShift returns the difference between the schema cookie as served and as
// stored. SQLite keeps a parsed schema as long as the cookie is the same, and
// two histories can have the same cookie with different tables in the same
// places.
func (v *View) CookieShift() uint32 {
	if v.Own {
		return 0
	}
	return v.Epoch * cookieStep
}

// FileSize returns the size of the database in bytes.
func (v *View) FileSize() int64 { return int64(v.Commit) * int64(v.PageSize) }

// Lookup returns the location of page pgno. A page beyond Commit, the lock
// page, and a free page that was never written have no location.
func (v *View) Lookup(pgno uint32) (Loc, bool) { return v.Pages.lookup(pgno) }

// Advance returns the state after file f is applied to v. The file must contain
// transactions beyond v. The index is not used if it belongs to the file.
func (v *View) Advance(f *File, index ltxio.Index) (*View, error) {
	if f.MinTXID > v.TXID+1 {
		return nil, fmt.Errorf("apply %s: %w", f, errs.Gap(v.TXID+1, f.MinTXID))
	}
	if f.MaxTXID <= v.TXID {
		return nil, fmt.Errorf("apply %s: nothing new after transaction %s", f, v.TXID)
	}
	next := &View{TXID: f.MaxTXID, Commit: f.Commit, PageSize: f.PageSize, Timestamp: f.Timestamp, Last: f, Epoch: v.Epoch, doubtful: v.doubtful}
	whole := f.MinTXID == 1
	if v.TXID != 0 && f.PageSize != v.PageSize {
		// The primary's database was replaced by another one.
		if whole = whole || f.holdsAll(); !whole {
			return nil, fmt.Errorf("apply %s: %w: page size is %d, not %d, and pages are missing: %w", f, errs.ErrCorrupt, f.PageSize, v.PageSize, ErrOtherPageSize)
		}
		next.Epoch++
		next.doubtful = nil
	}
	if next.Epoch == v.Epoch {
		next.stamps = v.stamps
	}
	next.stamps = addStamp(next.stamps, f)
	if whole {
		// The file holds a whole database. No page of v remains.
		next.Pages = Table{gen: v.Pages.gen + 1}
		next.Pages.sources.gen = next.Pages.gen
	} else {
		next.Pages = *v.Pages.edit()
		if f.Commit < v.Commit {
			next.Pages.truncate(f.Commit)
		}
	}
	if f.Dense != nil {
		next.Pages.setBase(Source{f, f.MaxTXID})
		return next, nil
	}
	if index.Len() == 0 {
		return next, nil
	}
	src := next.Pages.sources.assign(Source{f, f.MaxTXID})
	eachChunk(index, func(entries []ltxio.Entry) { next.Pages.put(src, entries, next.Commit) })
	return next, nil
}

// ErrOtherPageSize means that the page size of a file differs from that of the
// earlier files.
var ErrOtherPageSize = errors.New("page size has changed")

// holdsAll reports whether a file holds every page of the database.
func (f *File) holdsAll() bool {
	pages := f.Commit
	if pages >= ltx.LockPgno(f.PageSize) {
		pages--
	}
	return uint32(f.Frames) == pages
}

// Relocate returns v with pages pointed to file f, and the number of these
// pages. It relocates the pages that f holds in the same version. Versions do
// not change. Pages with a version outside of the file's range stay where they
// are, because f holds an older copy of them or none. The file must not end
// after v: its pages could be newer.
func (v *View) Relocate(f *File, index ltxio.Index) (*View, int, error) {
	if f.MaxTXID > v.TXID {
		return nil, 0, fmt.Errorf("relocate to %s: it ends after transaction %s", f, v.TXID)
	}
	if f.PageSize != v.PageSize {
		return nil, 0, fmt.Errorf("relocate to %s: %w: page size is %d, not %d", f, errs.ErrCorrupt, f.PageSize, v.PageSize)
	}
	if f.Dense != nil {
		return v.relocateToDense(f)
	}
	next := *v
	next.Pages = *v.Pages.edit()
	next.replaceLast(f)
	srcOf := make(map[ltx.TXID]uint32) // source number by version
	n := 0
	index.Each(func(e ltxio.Entry) bool {
		loc, ok := next.Lookup(e.Pgno)
		if !ok || loc.File == f || loc.Version < f.MinTXID || loc.Version > f.MaxTXID {
			return true
		}
		src, ok := srcOf[loc.Version]
		if !ok {
			src = next.Pages.sources.assign(Source{f, loc.Version})
			srcOf[loc.Version] = src
		}
		next.Pages.put(src, []ltxio.Entry{e}, next.Commit)
		n++
		return true
	})
	if n == 0 {
		return v, 0, nil
	}
	return &next, n, nil
}

// relocateToDense is Relocate for a file whose page index is read as it is
// needed. It begins at the first transaction.
func (v *View) relocateToDense(f *File) (*View, int, error) {
	next := *v
	next.Pages = *v.Pages.edit()
	next.replaceLast(f)
	t := &next.Pages
	isHeld := func(src uint32) bool {
		s := t.sources.get(src)
		return s.File != f && s.Version <= f.MaxTXID
	}
	n := 0
	if t.base.end > 0 && isHeld(t.base.src) {
		n = t.moveBase(f)
	}
	srcOf := make(map[ltx.TXID]uint32) // source number by version
	v.Pages.eachInTree(1, func(pgno, _ uint32) {
		loc, ok := next.Lookup(pgno)
		if !ok || pgno > f.Commit || loc.File == f || loc.Version > f.MaxTXID {
			return
		}
		src, ok := srcOf[loc.Version]
		if !ok {
			src = t.sources.assign(Source{f, loc.Version})
			srcOf[loc.Version] = src
		}
		t.putUnread(src, pgno)
		n++
	})
	if n == 0 {
		return v, 0, nil
	}
	return &next, n, nil
}

// replaceLast makes f the file of the last transaction in place of one that was
// recalled.
func (v *View) replaceLast(f *File) {
	if v.Last != nil && v.Last.Placeless && v.Last.Key() == f.Key() {
		v.Last = f
	}
}

// Unread returns the files of v whose page indexes are not complete.
func (v *View) Unread() (files []*File) {
	v.EachSource(func(s Source, _ int) {
		if d := s.File.Dense; d != nil && !d.IsComplete() && !slices.Contains(files, s.File) {
			files = append(files, s.File)
		}
	})
	return files
}

// Files returns the files that hold the pages of v.
func (v *View) Files() map[Key]*File {
	m := make(map[Key]*File)
	v.EachSource(func(s Source, _ int) { m[s.File.Key()] = s.File })
	return m
}

// eachChunk calls fn with the entries of each chunk of the page table. The
// slice is valid until fn returns.
func eachChunk(index ltxio.Index, fn func([]ltxio.Entry)) {
	buf := make([]ltxio.Entry, 0, chunkLen)
	index.Each(func(e ltxio.Entry) bool {
		if len(buf) > 0 && (buf[0].Pgno-1)>>chunkBits != (e.Pgno-1)>>chunkBits {
			fn(buf)
			buf = buf[:0]
		}
		buf = append(buf, e)
		return true
	})
	if len(buf) > 0 {
		fn(buf)
	}
}

// Relocate points pages of the state to a file; v is a view of the state.
func (s *State) Relocate(v *View, f *File, index ltxio.Index) error {
	for {
		moved := s.Moved.Load()
		from := v
		if moved != nil {
			from = moved
		}
		next, n, err := from.Relocate(f, index)
		if err != nil || n == 0 || s.Moved.CompareAndSwap(moved, next) {
			return err
		}
	}
}

// EachSource calls fn for every file that pages of v lie in, by the version of
// the pages, with the number of pages.
func (v *View) EachSource(fn func(s Source, pages int)) { v.Pages.sources.each(fn) }
