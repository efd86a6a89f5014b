package pages

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// hookClient is a replica in memory that runs functions around its reads.
type hookClient struct {
	*memory.ReplicaClient
	open    func(k view.Key, off int64) error                           // called before a read, which fails if it returns an error
	fetch   func(k view.Key, off int64)                                 // called after a read, before its caller gets the bytes
	through func(ctx context.Context, off int64, r io.Reader) io.Reader // wraps the body of a read
	opens   atomic.Int64                                                // number of reads
}

func newHookClient() *hookClient { return &hookClient{ReplicaClient: memory.NewReplicaClient()} }

func (c *hookClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c.opens.Add(1)
	k := view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
	if c.open != nil {
		if err := c.open(k, offset); err != nil {
			return nil, err
		}
	}
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, err
	}
	if c.fetch != nil {
		c.fetch(k, offset)
	}
	if c.through == nil {
		return r, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{c.through(ctx, offset, r), r}, nil
}

// remove deletes a file.
func (c *hookClient) remove(t testing.TB, k view.Key) {
	t.Helper()
	if err := c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: k.Level, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID}}); err != nil {
		t.Fatal(err)
	}
}

// bed is the part of a database that reads pages: views of a replica in memory,
// and a source of their pages. It is the locator of that source.
type bed struct {
	view.Views
	store      *remote.Store
	tasks      *task.Group
	source     *Source
	prefetcher *Prefetcher
}

var _ Locator = (*bed)(nil)

const (
	bedRequests    = 128 // places of the limiter
	bedReadTimeout = 30 * time.Second
)

// openBed opens the database of a replica. Options that are 0 have the defaults
// of the library.
func openBed(t testing.TB, client *hookClient, opts Options) *bed {
	t.Helper()
	if opts.CacheSize == 0 {
		opts.CacheSize = 10 << 20
	}
	if opts.PrefetchSize == 0 {
		opts.PrefetchSize = 32 << 20
	}
	b := &bed{tasks: task.NewGroup()}
	b.store = &remote.Store{Client: client, Log: slog.New(slog.DiscardHandler), Tasks: b.tasks}
	b.source = NewSource(b.store, b, opts, bedPageSize)
	b.prefetcher = NewPrefetcher(b.source, b.tasks, bedReadTimeout)
	b.Current.Store(new(view.View))
	b.advance(t)
	t.Cleanup(b.close)
	return b
}

// advance publishes the newest view of the replica.
func (b *bed) advance(t testing.TB) {
	t.Helper()
	cur := b.Current.Load()
	b.publish(t, cur, cur.Epoch)
}

// replace publishes the view of a replica that was replaced by one of another
// history.
func (b *bed) replace(t testing.TB) {
	t.Helper()
	b.publish(t, new(view.View), b.Epoch()+1)
}

// publish publishes the newest view of the replica, built from another view, in
// an epoch.
func (b *bed) publish(t testing.TB, v *view.View, epoch uint32) {
	t.Helper()
	files, err := b.store.ListAll(t.Context(), false)
	if err == nil {
		files, err = view.PlanLatest(v.TXID, files)
	}
	kept := make(Kept)
	if err == nil {
		err = b.store.LoadFiles(t.Context(), files, func(l *remote.Loaded) (err error) {
			kept.Keep(l, b.source.opts.CacheSize)
			v, err = v.Advance(l.File, l.Index)
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	v.Epoch = epoch
	b.Current.Store(v)
	b.source.CachePages(v, kept)
}

// Known returns the place that the current view has.
func (b *bed) Known(v *view.View, pgno uint32, version ltx.TXID) (view.Loc, bool) {
	loc, ok := b.Current.Load().Lookup(pgno)
	return loc, ok && loc.Version == version && loc.IsUsable()
}

// Find relocates the current view to the other files of the replica, unless it
// knows another place of the page already.
func (b *bed) Find(ctx context.Context, v *view.View, pgno uint32, lost view.Loc) (view.Loc, error) {
	if loc, ok := b.Known(v, pgno, lost.Version); ok {
		return loc, nil
	}
	files, err := b.store.ListAll(ctx, false)
	if err != nil {
		return view.Loc{}, err
	}
	next := b.Current.Load()
	for _, info := range files {
		if view.KeyOf(info) == lost.File.Key() || info.MaxTXID > next.TXID {
			continue
		}
		l, err := b.store.LoadFile(ctx, info)
		if err == nil {
			next, _, err = next.Relocate(l.File, l.Index)
		}
		if err != nil {
			return view.Loc{}, err
		}
	}
	b.Current.Store(next)
	if loc, ok := b.Known(v, pgno, lost.Version); ok {
		return loc, nil
	}
	return view.Loc{}, fmt.Errorf("find page %d: %w", pgno, errs.ErrStateGone)
}

// IsStillListed lists the replica anew.
func (b *bed) IsStillListed(ctx context.Context, epoch uint32, f *view.File) (bool, error) {
	files, err := b.store.ListAll(ctx, false)
	return err != nil || epoch == b.Epoch() && view.IsListed(f, files), err
}

// close ends every request and waits for it.
func (b *bed) close() {
	b.tasks.Close(errs.ErrClosed)
	b.tasks.Wait()
	b.source.Clear()
}

// dropCache empties the cache.
func (b *bed) dropCache() { b.source.cache.Load().lru.Purge() }

// countReads returns the number of read requests.
func (b *bed) countReads() int64 {
	n, _ := b.store.TotalReads()
	return n
}

// bedReader reads pages of a view as a connection does.
type bedReader struct {
	b         *bed
	v         *view.View
	predictor Predictor
}

// reader returns a reader of the current view.
func (b *bed) reader() *bedReader {
	return &bedReader{b: b, v: b.Current.Load(), predictor: NewPredictor(b.prefetcher)}
}

// read returns a page of the view.
func (r *bedReader) read(pgno uint32) ([]byte, error) {
	if found, ok := r.b.source.Known(r.v, pgno); ok {
		r.predictor.Hit(r.v, pgno, found.Page, found.Cached)
		page := bytes.Clone(found.Page)
		r.b.source.Release(found)
		return page, nil
	}
	r.predictor.Miss(r.v, pgno)
	ctx, cancel := r.b.tasks.WithTimeout(r.b.prefetcher.timeout)
	defer cancel()
	page, err := r.b.source.Page(ctx, r.v, pgno)
	if err == nil {
		r.predictor.Fetched(r.v, pgno, page)
	}
	return page, err
}

// bedPageSize is the page size of the databases of tests.
const bedPageSize = 512

// pgnoRange returns the pages from first to last.
func pgnoRange(first, last uint32) (pgnos []uint32) {
	for pgno := first; pgno <= last; pgno++ {
		pgnos = append(pgnos, pgno)
	}
	return pgnos
}

// fakePage returns a page full of one byte.
func fakePage(pgno uint32, fill byte) []byte {
	page := bytes.Repeat([]byte{fill}, bedPageSize)
	if pgno == 1 {
		copy(page, "SQLite format 3\x00\x02\x00")
	}
	return page
}

// putPages stores a file with pages of a database of commit pages.
func putPages(t testing.TB, client *hookClient, k view.Key, commit uint32, timestamp int64, pages map[uint32][]byte) {
	t.Helper()
	hdr := ltx.Header{PageSize: bedPageSize, Commit: commit, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID, Timestamp: timestamp}
	b := ltxtest.EncodeLTX(hdr, pages, false)
	if _, err := client.WriteLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

// oddPage returns a page that differs from all others and does not compress.
func oddPage(pgno uint32, fill byte) []byte {
	page := fakePage(pgno, fill)
	_, _ = rand.NewChaCha8([32]byte{fill, byte(pgno), byte(pgno >> 8)}).Read(page[120:])
	return page
}

// putOdd stores a file of odd pages in a database of commit pages.
func putOdd(t testing.TB, client *hookClient, k view.Key, commit uint32, fill byte, pgnos []uint32) {
	t.Helper()
	putOddAt(t, client, k, commit, fill, pgnos, int64(k.MaxTXID)*1000)
}

// putOddAt is putOdd with a timestamp.
func putOddAt(t testing.TB, client *hookClient, k view.Key, commit uint32, fill byte, pgnos []uint32, timestamp int64) {
	t.Helper()
	pages := make(map[uint32][]byte)
	for _, pgno := range pgnos {
		pages[pgno] = oddPage(pgno, fill)
	}
	putPages(t, client, k, commit, timestamp, pages)
}

// wantOdd reads odd pages of a view, and expects a number of requests.
func wantOdd(t testing.TB, b *bed, v *view.View, fill byte, requests int64, pgnos ...uint32) {
	t.Helper()
	before := b.countReads()
	for _, pgno := range pgnos {
		page, err := b.source.Page(t.Context(), v, pgno)
		if err != nil {
			t.Errorf("page %d: %v", pgno, err)
		} else if !bytes.Equal(page, oddPage(pgno, fill)) {
			t.Errorf("page %d is not what was written", pgno)
		}
	}
	if n := b.countReads() - before; n != requests {
		t.Errorf("pages %v take %d requests, want %d", pgnos, n, requests)
	}
}

// wantNothingPrefetched expects that no request is under way or has memory, and that no
// page is kept for a scan.
func wantNothingPrefetched(t testing.TB, b *bed) {
	t.Helper()
	flights := b.source.flights
	flights.mu.Lock()
	defer flights.mu.Unlock()
	if flights.mu.unclaimed != 0 || len(flights.mu.of) != 0 {
		t.Errorf("%d pages are prefetched, %d flights are left", flights.mu.unclaimed, len(flights.mu.of))
	}
	if l := b.store.Limit; l != nil {
		if running, waiting := l.Load(); running+waiting > 0 {
			t.Errorf("%d requests run, %d wait", running, waiting)
		}
	}
	q := b.prefetcher.requests
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.held != 0 || len(q.mu.waiting) > 0 {
		t.Errorf("requests have %d bytes of memory, and %d wait for some", q.mu.held, len(q.mu.waiting))
	}
}

// giveUp gives up pages of a view.
func giveUp(b *bed, v *view.View, pgnos ...uint32) {
	p := Predictor{Prefetcher: b.prefetcher, view: v}
	p.giveUp(pgnos)
}

// unclaimedIn returns how many pages are prefetched that no reader has asked for.
func unclaimedIn(b *bed) int {
	b.source.flights.mu.Lock()
	defer b.source.flights.mu.Unlock()
	return b.source.flights.mu.unclaimed
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// breakAfter returns a reader of the first n bytes of r, which then calls a
// function and returns its error.
func breakAfter(r io.Reader, n int64, then func() error) io.Reader {
	return io.MultiReader(io.LimitReader(r, n), readerFunc(func([]byte) (int, error) { return 0, then() }))
}

// inBed runs a test with a database of 3000 odd pages, none of which is in the
// cache.
func inBed(t *testing.T, opts Options, do func(t *testing.T, client *hookClient, b *bed, v *view.View)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		client := newHookClient()
		putOdd(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 3000, 1, pgnoRange(1, 3000))
		b := openBed(t, client, opts)
		b.dropCache()
		b.store.Limit = remote.NewLimiter(bedRequests)
		client.opens.Store(0)
		do(t, client, b, b.Current.Load())
	})
}
