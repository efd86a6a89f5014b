package litestream

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// A view is a state of the database: it maps each page to its frame. It is
// immutable and safe for concurrent use. The zero view is the empty state
// before the first transaction.
type view struct {
	txid      ltx.TXID
	commit    uint32 // size of the database, in pages
	pageSize  uint32
	timestamp int64 // of transaction txid, in milliseconds since the Unix epoch
	pages     pageTable

	// last is the file that contains transaction txid. It is nil in the zero
	// view.
	last *ltxFile

	// epoch numbers the histories of the replica that this process has seen.
	// Versions of different epochs are unrelated.
	epoch uint32

	// stamps holds the timestamps of transactions in ascending order of TXID.
	// It is never changed in place.
	stamps []stamp

	// doubtful holds the transactions of this view in whose place the replica
	// may have others. No page of v has a version of these transactions. It is
	// never changed in place.
	doubtful []txidRange

	// own means that this process wrote the newest transaction. Page 1 as
	// stored then has the schema cookie that was served.
	own bool

	// base is the state of the replica that the commits in the write buffer
	// change. It is nil in a view without such commits.
	base *view

	// state is shared by views that have the same pages at different locations.
	// It is nil in a view that was not published.
	state *viewState
}

// viewState holds what connections see of a view besides its pages.
type viewState struct {
	// counter is the change counter that page 1 contains. Within a process, no
	// two states of a database have the same counter. It can change: see
	// views.countCommit.
	counter atomic.Uint32

	// pageOne holds the differences between page 1 as served and page 1 as
	// stored. It is kept because SQLite reads the header at the start of every
	// transaction. It is nil until the first read.
	pageOne atomic.Pointer[dbheader.Served]

	// moved is the newest view of this state after files that the first view
	// points to were deleted. It is nil if there is none.
	moved atomic.Pointer[view]
}

func (v *view) time() time.Time { return time.UnixMilli(v.timestamp).UTC() }

// cookieStep separates the schema cookies of two epochs. A schema change
// increments the cookie by one.
const cookieStep = 0x9e3779b1

// cookieShift returns the difference between the schema cookie as served and as
// stored. SQLite keeps a parsed schema as long as the cookie is the same, and
// two histories can have the same cookie with different tables in the same
// places.
func (v *view) cookieShift() uint32 {
	if v.own {
		return 0
	}
	return v.epoch * cookieStep
}

// fileSize returns the size of the database in bytes.
func (v *view) fileSize() int64 { return int64(v.commit) * int64(v.pageSize) }

// lookup returns the location of page pgno. A page beyond commit, the lock
// page, and a free page that was never written have no location.
func (v *view) lookup(pgno uint32) (frameLoc, bool) { return v.pages.lookup(pgno) }

// advance returns the state after file f is applied to v. The file must contain
// transactions beyond v.
func (v *view) advance(f *ltxFile, index ltxio.Index) (*view, error) {
	if f.minTXID > v.txid+1 {
		return nil, fmt.Errorf("apply %s: %w", f, errs.Gap(v.txid+1, f.minTXID))
	}
	if f.maxTXID <= v.txid {
		return nil, fmt.Errorf("apply %s: nothing new after transaction %s", f, v.txid)
	}
	next := &view{txid: f.maxTXID, commit: f.commit, pageSize: f.pageSize, timestamp: f.timestamp, last: f, epoch: v.epoch, doubtful: v.doubtful}
	whole := f.minTXID == 1
	if v.txid != 0 && f.pageSize != v.pageSize {
		// The primary's database was replaced by another one.
		if whole = whole || f.holdsAll(); !whole {
			return nil, fmt.Errorf("apply %s: %w: page size is %d, not %d, and pages are missing: %w", f, errs.ErrCorrupt, f.pageSize, v.pageSize, errOtherPageSize)
		}
		next.epoch++
		next.doubtful = nil
	}
	if next.epoch == v.epoch {
		next.stamps = v.stamps
	}
	next.stamps = addStamp(next.stamps, f)
	if whole {
		// The file holds a whole database. No page of v remains.
		next.pages = pageTable{gen: v.pages.gen + 1}
		next.pages.sources.gen = next.pages.gen
	} else {
		next.pages = *v.pages.edit()
		if f.commit < v.commit {
			next.pages.truncate(f.commit)
		}
	}
	if index.Len() == 0 {
		return next, nil
	}
	src := next.pages.sources.new(source{f, f.maxTXID})
	eachChunk(index, func(entries []ltxio.Entry) { next.pages.put(src, entries, next.commit) })
	return next, nil
}

// errOtherPageSize means that the page size of a file differs from that of the
// earlier files.
var errOtherPageSize = errors.New("page size has changed")

// holdsAll reports whether a file holds every page of the database.
func (f *ltxFile) holdsAll() bool {
	pages := f.commit
	if pages >= ltx.LockPgno(f.pageSize) {
		pages--
	}
	return uint32(f.frames) == pages
}

// relocate returns v with pages pointed to file f, and the number of these
// pages. It relocates the pages that f holds in the same version. Versions do
// not change. Pages with a version outside of the file's range stay where they
// are, because f holds an older copy of them or none. The file must not end
// after v: its pages could be newer.
func (v *view) relocate(f *ltxFile, index ltxio.Index) (*view, int, error) {
	if f.maxTXID > v.txid {
		return nil, 0, fmt.Errorf("relocate to %s: it ends after transaction %s", f, v.txid)
	}
	if f.pageSize != v.pageSize {
		return nil, 0, fmt.Errorf("relocate to %s: %w: page size is %d, not %d", f, errs.ErrCorrupt, f.pageSize, v.pageSize)
	}
	next := *v
	next.pages = *v.pages.edit()
	srcOf := make(map[ltx.TXID]uint32) // source number by version
	n := 0
	index.Each(func(e ltxio.Entry) bool {
		loc, ok := next.lookup(e.Pgno)
		if !ok || loc.file == f || loc.version < f.minTXID || loc.version > f.maxTXID {
			return true
		}
		src, ok := srcOf[loc.version]
		if !ok {
			src = next.pages.sources.new(source{f, loc.version})
			srcOf[loc.version] = src
		}
		next.pages.put(src, []ltxio.Entry{e}, next.commit)
		n++
		return true
	})
	if n == 0 {
		return v, 0, nil
	}
	return &next, n, nil
}

// files returns the files that hold the pages of v.
func (v *view) files() map[fileKey]*ltxFile {
	m := make(map[fileKey]*ltxFile)
	v.eachSource(func(s source, _ int) { m[s.file.key()] = s.file })
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

// relocate points pages of the state to a file; v is a view of the state.
func (s *viewState) relocate(v *view, f *ltxFile, index ltxio.Index) error {
	for {
		moved := s.moved.Load()
		from := v
		if moved != nil {
			from = moved
		}
		next, n, err := from.relocate(f, index)
		if err != nil || n == 0 || s.moved.CompareAndSwap(moved, next) {
			return err
		}
	}
}

// eachSource calls fn for every file that pages of v lie in, by the version of
// the pages, with the number of pages.
func (v *view) eachSource(fn func(s source, pages int)) { v.pages.sources.each(fn) }
