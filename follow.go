package litestream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// A poll looks for the next transaction by the name of its file, which takes one
// read. What such a read returns is not known to continue the history of the
// view: the replica may have been rolled back or replaced. A listing that has
// both the file of the newest known transaction, unchanged, and the new file in
// the version that was read proves that it does. The order of the read and the
// listing does not matter then.

const (
	// fullPollEvery is the number of polls after which one poll lists all levels.
	// Files of level 0 may be compacted and deleted before a poll sees them, and
	// a poll by name does not see that the replica was replaced.
	fullPollEvery = 30

	// fullPollAfter is the time after which a poll lists all levels, for pollers
	// with long intervals, and for machines that were suspended meanwhile.
	fullPollAfter = 30 * time.Second

	// livelyPolls is the number of polls after one with news that list level 0
	// while they read by name, so that the next news take one round trip. A poll
	// that finds news after a longer pause takes two, because the new file does not
	// say which content the file before it has. Litestream writes no checksum of the
	// state into its files. It writes a position in the WAL, but a database that was
	// put back to an older copy with its WAL goes on at the same positions. To ask for
	// the file before it at the same time would cost a second read for each poll.
	livelyPolls = 3

	// maxNamed limits the number of files that are read by name at a time.
	maxNamed = 8
)

// following says how the next poll looks for new transactions.
type following struct {
	mu struct { // duty: what earlier polls have found
		sync.Mutex
		listed time.Time // start of the last listing of all levels
		polls  int       // number of polls since then
		lively int       // number of further polls that list while they read by name
		last   int       // number of files that a lively poll reads by name
	}
}

// listedAll records that a listing of all levels, which began at a time, has
// given the newest state.
func (f *following) listedAll(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.listed, f.mu.polls = at, 0
}

// begin counts a poll, and reports whether it has to list all levels. A poll that
// is not by name lists level 0, and sees that files were deleted.
func (f *following) begin(byName bool) (full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.polls++
	return f.mu.polls >= fullPollEvery || byName && task.Elapsed(f.mu.listed) >= fullPollAfter
}

// expects returns the number of files that a poll reads by name at once, and
// whether it lists level 0 at the same time because news are likely.
func (f *following) expects() (files int, lively bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.lively == 0 {
		return 1, false
	}
	return f.mu.last, true
}

// end records how many new transactions a poll has found, and whether it has
// found another history.
func (f *following) end(news int64, other bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case other:
		f.mu.lively, f.mu.last = livelyPolls, 1
	case news > 0:
		f.mu.lively, f.mu.last = livelyPolls, int(min(news, maxNamed))
	case f.mu.lively > 0:
		f.mu.lively--
		f.mu.last = 1
	}
}

// namedFiles are files that were read by name.
type namedFiles map[view.Key]*remote.NamedFile

// nameAfter returns the name of the file of level 0 with the n-th transaction
// after a view.
func nameAfter(v *view.View, n int) view.Key {
	txid := v.TXID + ltx.TXID(n)
	return view.Key{Level: 0, MinTXID: txid, MaxTXID: txid}
}

// followsByName reports whether polls read the next file by its name. They do
// where the store tells the versions of files. Elsewhere, only listings keep pages
// from being read from a file that was replaced.
func (x *index) followsByName(cur *view.View) bool {
	return cur.Last != nil && cur.Last.Version.Load() != nil && x.store.CanReadByName()
}

// followNext publishes the transactions that files of level 0 add to view cur. It
// reports whether that settles what a poll has to find out. Otherwise all levels
// have to be listed. It adds the files that it reads by name to named.
func (x *index) followNext(ctx context.Context, cur *view.View, byName bool, named namedFiles) (settled bool, err error) {
	first, last := 1, 0 // files to read by name during the listing, after cur
	var refused error
	if byName {
		expected, lively := x.following.expects()
		if last = expected; !lively {
			f, err := x.store.ReadNamed(ctx, nameAfter(cur, 1))
			switch {
			case errs.IsPermanent(err):
				refused, last = err, 0
			case err != nil || f == nil:
				return true, err
			}
			if f != nil {
				named[nameAfter(cur, 1)] = f
				if cur.Last.Level != 0 || cur.Last.Gone.Load() {
					return false, nil // a listing of level 0 lacks the newest known file
				}
				first, last = 2, 2
			}
		}
	}
	files, err := x.listAndRead(ctx, cur, first, last, named)
	if err != nil {
		return true, err
	}
	if refused != nil {
		// There are permissions with which a store answers so if a file does not exist.
		x.store.AvoidNames("storage refuses to read a file that may not exist", "error", refused)
	}
	return x.followListed(ctx, cur, files, named)
}

// listAndRead lists level 0 from the newest known transaction on. At the same
// time it reads the files of the first to the last transaction after view cur by
// name, and adds those that exist to named. A read that fails is left out, because
// the files of the listing are read in any case.
func (x *index) listAndRead(ctx context.Context, cur *view.View, first, last int, named namedFiles) (files []*ltx.FileInfo, err error) {
	found := make([]*remote.NamedFile, last+1)
	var reads errgroup.Group
	for n := first; n <= last; n++ {
		reads.Go(func() error {
			found[n], _ = x.store.ReadNamed(ctx, nameAfter(cur, n))
			return nil
		})
	}
	files, err = x.store.List(ctx, 0, cur.TXID, false)
	_ = reads.Wait() // returns no error
	for n, f := range found {
		if f != nil {
			named[nameAfter(cur, n)] = f
		}
	}
	if err == nil && first == 1 && named[nameAfter(cur, 1)] != nil && !hasNews(cur, files) {
		// The file may have been created after the listing.
		files, err = x.store.List(ctx, 0, cur.TXID, false)
	}
	return files, err
}

// hasNews reports whether a listing of level 0 has transactions after a view.
func hasNews(v *view.View, files []*ltx.FileInfo) bool {
	return len(files) > 0 && files[len(files)-1].MaxTXID > v.TXID
}

// followListed publishes the transactions that listed files of level 0 add to view
// cur. The listing starts at the newest known transaction; the file of that
// transaction shows whether the replica is still the same. The result is that of
// followNext.
func (x *index) followListed(ctx context.Context, cur *view.View, files []*ltx.FileInfo, named namedFiles) (settled bool, err error) {
	last, news := cur.Last, hasNews(cur, files)
	known := len(files) > 0 && view.KeyOf(files[0]) == last.Key()
	switch {
	case known && !last.IsListedAs(files[0]): // the replica was replaced
		return false, nil
	case !known && last.Level == 0 && !last.Gone.Load(): // the file was deleted, maybe with all others
		return false, nil
	case !known && len(files) > 0 && !news && !x.isSeen(cur.Epoch, files[0]): // the file may belong to another history
		return false, nil
	case !known:
		return !news, nil
	}
	if last.Version.Load() == nil && !last.Stale.Load() {
		last.SetContent(files[0], true) // the next poll can be by name
	}
	if !news {
		return true, nil
	}
	err = x.advanceBy(ctx, cur, cur.TXID, files, named)
	return !isOutdated(err) && !errors.Is(err, view.ErrOtherPageSize), err
}
