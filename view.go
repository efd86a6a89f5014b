package litestream

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// A view is a state of the database: which frame holds each page. It is
// immutable and safe for concurrent use; the zero view is the empty state
// before the first transaction.
type view struct {
	txid      ltx.TXID
	commit    uint32 // size, pages
	pageSize  uint32
	timestamp int64 // of transaction txid, ms since the Unix epoch
	pages     pageTable

	// last is the file that brought transaction txid. Nil in the zero view.
	last *ltxFile

	// epoch counts the histories of the replica that were seen. Versions of
	// different ones have nothing to do with each other.
	epoch uint32

	// stamps are timestamps of transactions, in ascending order of TXID. They
	// are never changed.
	stamps []stamp

	// doubtful are transactions that the replica may have others of than those
	// that led here. No page of v is of any of them. They are never changed.
	doubtful []txidRange

	// own means that this process wrote its newest transaction: page 1 as stored has
	// the schema cookie that was served.
	own bool

	// base is the state on the replica that commits of the write buffer change.
	// Nil in a view without such commits.
	base *view

	// state is shared by views that differ in where pages lie, not in what
	// they are. Nil in a view that was not published.
	state *viewState
}

// viewState is what connections see of a view beside its pages.
type viewState struct {
	// counter stands in page 1 as the change counter. Within a process, no two
	// states of a database have the same. It can change: see views.countCommit.
	counter atomic.Uint32

	// pageOne is what page 1 as served has other than as stored, kept since SQLite
	// reads the header at the start of every transaction. Nil until first read.
	pageOne atomic.Pointer[servedPageOne]

	// moved is the newest view of this state, if files that the first one
	// points to were deleted. Nil if there is none.
	moved atomic.Pointer[view]
}

func (v *view) time() time.Time { return time.UnixMilli(v.timestamp).UTC() }

// cookieStep tells schema cookies of two epochs apart. Changes of the schema
// count by one.
const cookieStep = 0x9e3779b1

// cookieShift is by how much the schema cookie as served differs from that which is
// stored. SQLite keeps a schema while the cookie is the same, and two histories can
// have the same one with other tables in the same places.
func (v *view) cookieShift() uint32 {
	if v.own {
		return 0
	}
	return v.epoch * cookieStep
}

// fileSize returns the size of the database, bytes.
func (v *view) fileSize() int64 { return int64(v.commit) * int64(v.pageSize) }

// lookup finds where page pgno is. There is none for a page beyond commit,
// the lock page, and a free page that was never written.
func (v *view) lookup(pgno uint32) (frameLoc, bool) { return v.pages.lookup(pgno) }

// advance returns the state after a file that brings transactions beyond v.
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
			return nil, fmt.Errorf("apply %s: %w: page size is %d, not %d, and pages are missing: %w", f, ErrCorrupt, f.pageSize, v.pageSize, errOtherPageSize)
		}
		next.epoch++
		next.doubtful = nil
	}
	if next.epoch == v.epoch {
		next.stamps = v.stamps
	}
	next.stamps = addStamp(next.stamps, f)
	if whole {
		// A whole database: nothing of v remains.
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

// errOtherPageSize means that a file has pages of another size than the ones before.
var errOtherPageSize = errors.New("page size has changed")

// holdsAll tells whether a file holds every page of the database.
func (f *ltxFile) holdsAll() bool {
	pages := f.commit
	if pages >= ltx.LockPgno(f.pageSize) {
		pages--
	}
	return uint32(f.frames) == pages
}

// relocate returns v with the pages that file f holds in the same version
// pointed to it, and how many there were. Versions stay as they are, and so do pages
// whose version is outside of the file's range: it has an older or no copy
// of them. The file must not end after v, or its pages could be newer.
func (v *view) relocate(f *ltxFile, index ltxio.Index) (*view, int, error) {
	if f.maxTXID > v.txid {
		return nil, 0, fmt.Errorf("relocate to %s: it ends after transaction %s", f, v.txid)
	}
	if f.pageSize != v.pageSize {
		return nil, 0, fmt.Errorf("relocate to %s: %w: page size is %d, not %d", f, ErrCorrupt, f.pageSize, v.pageSize)
	}
	next := *v
	next.pages = *v.pages.edit()
	srcOf := make(map[ltx.TXID]uint32) // by version
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

// files returns the files that pages of v lie in.
func (v *view) files() map[fileKey]*ltxFile {
	m := make(map[fileKey]*ltxFile)
	v.pages.sources.each(func(s source, _ int) { m[s.file.key()] = s.file })
	return m
}

// eachChunk cuts an index into the parts that fall into one chunk each.
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
