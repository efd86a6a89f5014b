package litestream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/psanford/sqlite3vfs"
	"github.com/superfly/ltx"
)

var _ = fmt.Sprint
var _ = filepath.Join
var _ = os.Remove

// hookClient is a replica in memory with hooks.
type hookClient struct {
	*memory.ReplicaClient
	listed func()                                 // after a listing of all levels was made
	open   func(k fileKey, off, size int64) error // before a read
	body   func(k fileKey, off, size int64)       // after a read
	lists  atomic.Int64
	opens  atomic.Int64
}

func (c *hookClient) AllLTXFiles(ctx context.Context, m bool) (ltx.FileIterator, error) {
	c.lists.Add(1)
	itr, err := c.ReplicaClient.AllLTXFiles(ctx, m)
	if c.listed != nil {
		c.listed()
	}
	return itr, err
}

func (c *hookClient) OpenLTXFile(ctx context.Context, level int, a, b ltx.TXID, off, size int64) (io.ReadCloser, error) {
	c.opens.Add(1)
	k := fileKey{level, a, b}
	if c.open != nil {
		if err := c.open(k, off, size); err != nil {
			return nil, err
		}
	}
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, a, b, off, size)
	if err == nil && c.body != nil {
		p, rerr := io.ReadAll(r)
		if rerr != nil {
			return nil, rerr
		}
		c.body(k, off, size)
		return io.NopCloser(bytes.NewReader(p)), nil
	}
	return r, err
}

func reviewDB(t *testing.T, client ReplicaClient, opts Options) *database {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := openDatabase(t.Context(), "app.db", client, opts.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.close(context.Background()) })
	return db
}

func reviewPrimary(t *testing.T, client ltxtest.Store, n int) *ltxtest.Primary {
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
	for i := 1; i < n; i++ {
		p.Exec("UPDATE t SET x = x + 1")
	}
	return p
}

func wantPage(t *testing.T, p *ltxtest.Primary, db *database, v *view, pgno uint32) {
	t.Helper()
	got, err := db.page(t.Context(), v, pgno)
	if err != nil {
		t.Errorf("page %d as of %s: %v", pgno, v.txid, err)
		return
	}
	ps := p.PageSize()
	if want := p.Image(v.txid)[int(pgno-1)*ps:][:ps]; !bytes.Equal(got, want) {
		t.Errorf("page %d as of %s is wrong", pgno, v.txid)
	}
}

// A poll publishes a newer view between a refresh's listing and its use.
func TestReview_RefreshRacesPoll(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := reviewPrimary(t, client, 3)
	db := reviewDB(t, client, Options{CacheSize: -1})
	v := db.current.Load()
	p.Compact(1, 1, 3)
	p.DeleteLevelBelow(0, 4)
	done := false
	client.listed = func() {
		if !done {
			done = true
			p.Exec("UPDATE t SET x = x + 1")
			if err := db.poller.poll(false); err != nil {
				t.Error(err)
			}
		}
	}
	wantPage(t, p, db, v, 2)
	for _, f := range db.current.Load().files() {
		if f.key() == (fileKey{0, 4, 4}) && f.gone.Load() {
			t.Errorf("%s is taken for gone", f)
		}
	}
}

// The newest files are broken; what the reader has is still all there.
func TestReview_FindDespiteGap(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := reviewPrimary(t, client, 5)
	db := reviewDB(t, client, Options{CacheSize: -1})
	v := db.current.Load()
	p.Exec("UPDATE t SET x = x + 1")
	p.Exec("UPDATE t SET x = x + 1")
	p.Delete(0, 6, 6)
	p.Compact(1, 1, 5)
	p.DeleteLevelBelow(0, 6)
	wantPage(t, p, db, v, 2)
}

func TestReview_FindDespiteCorruptNews(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := reviewPrimary(t, client, 5)
	db := reviewDB(t, client, Options{CacheSize: -1})
	v := db.current.Load()
	p.Exec("UPDATE t SET x = x + 1")
	client.open = func(k fileKey, off, size int64) error {
		if k == (fileKey{0, 6, 6}) {
			return fmt.Errorf("bit rot: %w", ErrCorrupt)
		}
		return nil
	}
	p.Compact(1, 1, 5)
	p.DeleteLevelBelow(0, 6)
	wantPage(t, p, db, v, 2)
}

// L0 retention has deleted the older half of what a L1 file covers.
func TestReview_TimeInPartlyExpiredL0(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := reviewPrimary(t, client, 4)
	p.Snapshot()
	for range 8 {
		p.Exec("UPDATE t SET x = x + 1")
	}
	p.Compact(1, 5, 12)
	p.DeleteLevelBelow(0, 8) // 5 to 7 are older than the retention
	for range 2 {
		p.Exec("UPDATE t SET x = x + 1")
	}
	db := reviewDB(t, client, Options{})
	for txid := ltx.TXID(4); txid <= 14; txid++ {
		v, err := db.travelToTime(t.Context(), p.Time(txid))
		if err != nil {
			t.Errorf("time of %d: %v", txid, err)
			continue
		}
		t.Logf("time of %d: at %d", txid, v.txid)
	}
}

// A header read for the binary search meets a file just deleted.
func TestReview_TimeRacesRetention(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := reviewPrimary(t, client, 8)
	db := reviewDB(t, client, Options{})
	p.Compact(1, 1, 8)
	once := sync.Once{}
	client.listed = func() { once.Do(func() { p.DeleteLevelBelow(0, 8) }) }
	if _, err := db.travelToTime(t.Context(), p.Time(8).Add(time.Hour)); err != nil {
		t.Error(err)
	}
	once = sync.Once{}
	p.Exec("UPDATE t SET x = x + 1")
	p.Exec("UPDATE t SET x = x + 1")
	p.Compact(1, 9, 10)
	client.listed = func() { once.Do(func() { p.DeleteLevelBelow(0, 11) }) }
	if _, err := db.travelToTime(t.Context(), p.Time(9).Add(time.Millisecond)); err != nil {
		t.Error(err)
	}
}

const mainDB = sqlite3vfs.OpenMainDB | sqlite3vfs.OpenReadWrite | sqlite3vfs.OpenURI

// Close with a context that has ended already.
func TestReview_CloseWithEndedContext(t *testing.T) {
	leaks := 0
	for range 20 {
		client := &hookClient{ReplicaClient: memoryNew()}
		reviewPrimary(t, client, 2)
		vfs := NewVFS(client, &Options{Logger: slog.New(slog.DiscardHandler)})
		f, _, _ := vfs.Open("app.db", mainDB)
		c := f.(*conn)
		if err := c.Lock(sqlite3vfs.LockShared); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = vfs.Close(ctx)
		_ = vfs.Close(context.Background())
		_ = c.Close()
		if c.db.ctx.Err() == nil {
			leaks++
			_ = c.db.close(context.Background())
		}
	}
	if leaks > 0 {
		t.Errorf("%d of 20 databases live on after the VFS was closed and their connections too", leaks)
	}
}

// Close gives up waiting for an open, which succeeds.
func TestReview_CloseDuringOpen(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	reviewPrimary(t, client, 1)
	vfs := NewVFS(client, &Options{Logger: slog.New(slog.DiscardHandler)})
	client.body = func(fileKey, int64, int64) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_ = vfs.Close(ctx)
	}
	f, _, _ := vfs.Open("app.db", mainDB)
	c, ok := f.(*conn)
	if !ok {
		return
	}
	_ = vfs.Close(context.Background())
	if err := c.Lock(sqlite3vfs.LockShared); err == nil {
		t.Error("a transaction starts on a closed VFS")
	}
	_ = c.Close()
	if c.db.ctx.Err() == nil {
		t.Errorf("the database lives on, poller %v", pollState(c.db.poller.state.Load()))
		_ = c.db.close(context.Background())
	}
}

// The first transaction comes long after the open.
func TestReview_FirstTransactionLongAfterOpen(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		time.Sleep(24 * time.Hour)
		want := p.Exec("INSERT INTO t VALUES (1)")
		db.poller.use()
		defer db.poller.done()
		if got := db.current.Load().txid; got != want {
			t.Errorf("a day after open the first transaction sees %s, not %s", got, want)
		}
	})
}

// Polls failed until the poller fell asleep; storage is back.
func TestReview_WakeAfterFailedPolls(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		client.down.Store(true)
		db.poller.use()
		db.poller.done()
		time.Sleep(24 * time.Hour)
		client.down.Store(false)
		want := p.Exec("INSERT INTO t VALUES (1)")
		db.poller.use()
		defer db.poller.done()
		if got := db.current.Load().txid; got != want {
			t.Errorf("the transaction sees %s, not %s", got, want)
		}
	})
}

func encode(t *testing.T, min, max ltx.TXID, commit uint32, ts int64, pgnos []uint32, fill func(uint32) byte) []byte {
	t.Helper()
	pages := map[uint32][]byte{}
	for _, p := range pgnos {
		b := bytes.Repeat([]byte{fill(p)}, 512)
		if p == 1 {
			copy(b, "SQLite format 3\x00")
			b[16], b[17] = 2, 0
		}
		pages[p] = b
	}
	return ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: commit, MinTXID: min, MaxTXID: max, Timestamp: ts}, pages, false)
}

func span(a, b uint32) (s []uint32) {
	for p := a; p <= b; p++ {
		s = append(s, p)
	}
	return s
}

// Two readers of one old view look for pages in two files at the same time.
func TestReview_MovedLostUpdate(t *testing.T) {
	const n = 20000
	ctx := context.Background()
	client := &hookClient{ReplicaClient: memoryNew()}
	put := func(level int, min, max ltx.TXID, b []byte) {
		if _, err := client.WriteLTXFile(ctx, level, min, max, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	b := func(x byte) func(uint32) byte { return func(uint32) byte { return x } }
	put(9, 1, 2, encode(t, 1, 2, n, 1000, span(1, n), b(2)))
	l1a := encode(t, 3, 5, n, 5000, span(2, n/2), b(4))
	l1b := encode(t, 6, 8, n, 8000, span(n/2+1, n), b(7))
	for txid := ltx.TXID(3); txid <= 10; txid++ {
		pgnos := []uint32{1}
		switch txid {
		case 4:
			pgnos = span(2, n/2)
		case 7:
			pgnos = span(n/2+1, n)
		}
		put(0, txid, txid, encode(t, txid, txid, n, int64(txid)*1000, pgnos, b(byte(txid))))
	}
	files := func() (a []*ltx.FileInfo) {
		for l := 0; l < 2; l++ {
			itr, _ := client.LTXFiles(ctx, l, 0, false)
			for itr.Next() {
				a = append(a, itr.Item())
			}
		}
		return a
	}
	db := reviewDB(t, client, Options{CacheSize: -1})
	v0 := db.current.Load()
	put(9, 1, 20, encode(t, 1, 20, n, 20000, span(1, n), b(20)))
	put(1, 3, 5, l1a)
	put(1, 6, 8, l1b)
	put(1, 9, 10, encode(t, 9, 10, n, 10000, []uint32{1}, b(10)))
	_ = client.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: 9, MinTXID: 1, MaxTXID: 2}})
	for _, f := range files() {
		if f.Level == 0 {
			_ = client.DeleteLTXFiles(ctx, []*ltx.FileInfo{f})
		}
	}
	if _, err := db.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	failed := 0
	const rounds = 400
	for range rounds {
		v := *v0
		v.state = new(viewState)
		var wg sync.WaitGroup
		var errs [2]error
		for i, pgno := range []uint32{100, n - 100} {
			wg.Go(func() { _, errs[i] = db.page(ctx, &v, pgno) })
		}
		wg.Wait()
		if err := errors.Join(errs[:]...); err != nil {
			if failed == 0 {
				t.Log(err)
			}
			failed++
		}
	}
	if failed > 0 {
		t.Errorf("%d of %d pairs of reads failed", failed, rounds)
	}
}

// A file is listed, but cannot be opened.
func TestReview_ListedButMissing(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := reviewPrimary(t, client, 1)
	p.Exec("CREATE TABLE u AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, hex(zeroblob(50)) FROM n")
	db := reviewDB(t, client, Options{CacheSize: -1, ReadTimeout: -1})
	v := db.current.Load()
	client.open = func(k fileKey, off, size int64) error { return fs.ErrNotExist }
	const readers = 64
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var late atomic.Int64
	start := time.Now()
	for i := range readers {
		wg.Go(func() {
			for range 200 {
				if ctx.Err() != nil {
					return
				}
				if _, err := db.page(ctx, v, uint32(2+i)); errors.Is(err, context.DeadlineExceeded) || err == nil {
					late.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(8 * time.Second):
		t.Errorf("readers do not end though their context did; %d listings", client.lists.Load())
		client.open = nil
		<-done
	}
	t.Logf("%v, %d listings, %d opens for %d reads", time.Since(start), client.lists.Load(), client.opens.Load(), 200*readers)
	if max := int64(200 * readers * (planAttempts + 1)); client.opens.Load() > max+100 {
		t.Errorf("%d opens, at most %d expected", client.opens.Load(), max)
	}
	if late.Load() > 0 {
		t.Errorf("%d reads ended by their time limit only", late.Load())
	}
}

// Much news at once: what is held of it.
func TestReview_AdvanceByMemory(t *testing.T) {
	ctx := context.Background()
	client := &hookClient{ReplicaClient: memoryNew()}
	rnd := bytes.NewBuffer(nil)
	_ = rnd
	put := func(level int, min, max ltx.TXID, b []byte) {
		if _, err := client.WriteLTXFile(ctx, level, min, max, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(1)
	random := func(pgno uint32) []byte {
		b := make([]byte, 4096)
		for i := range b {
			seed = seed*6364136223846793005 + 1442695040888963407
			b[i] = byte(seed >> 56)
		}
		if pgno == 1 {
			copy(b, "SQLite format 3\x00")
			b[16], b[17] = 16, 0
		}
		return b
	}
	file := func(txid ltx.TXID, n uint32) []byte {
		pages := map[uint32][]byte{}
		for p := uint32(1); p <= n; p++ {
			pages[p] = random(p)
		}
		return ltxtest.EncodeLTX(ltx.Header{PageSize: 4096, Commit: 40, MinTXID: txid, MaxTXID: txid, Timestamp: int64(txid) * 1000}, pages, false)
	}
	put(0, 1, 1, file(1, 40))
	db := reviewDB(t, client, Options{})
	const n = 1000
	for txid := ltx.TXID(2); txid <= n+1; txid++ {
		put(0, txid, txid, file(txid, 24))
	}
	before := heapInUse()
	var peak atomic.Int64
	last := fileKey{0, n + 1, n + 1}
	client.open = func(k fileKey, off, size int64) error {
		if k == last {
			time.Sleep(300 * time.Millisecond) // the others get ahead
			peak.Store(heapInUse() - before)
		}
		return nil
	}
	if _, err := db.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes held of %d files just before the last", peak.Load(), n)
	if peak.Load() > 40<<20 {
		t.Errorf("%d MiB held while %d files are applied", peak.Load()>>20, n)
	}
}

// A listing says a file has 64 GiB.
func TestReview_TailAllocation(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	reviewPrimary(t, client, 1)
	s := &store{client: client, log: slog.New(slog.DiscardHandler)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	client.open = func(fileKey, int64, int64) error { return fs.ErrPermission }
	_, err := s.loadFile(t.Context(), &ltx.FileInfo{Level: 0, MinTXID: 1, MaxTXID: 1, Size: 64 << 30})
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Errorf("%d MiB allocated on the word of a listing (%v)", n>>20, err)
	}
}

// OpenTimeout must bound an open even where ReadTimeout is unlimited.
func TestReview_OpenTimeoutBoundsRefresh(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	reviewPrimary(t, client, 1)
	var lists atomic.Int64
	release := make(chan struct{})
	client.listed = func() {
		if lists.Add(1) > 1 {
			<-release // as if the store hung; until the database's context ends
		}
	}
	var opens atomic.Int64
	client.open = func(fileKey, int64, int64) error {
		if opens.Add(1) > 1 {
			return fs.ErrNotExist
		}
		return nil
	}
	vfs := NewVFS(client, &Options{OpenTimeout: 200 * time.Millisecond, ReadTimeout: 10 * time.Minute, CacheSize: -1, Logger: slog.New(slog.DiscardHandler)})
	done := make(chan struct{})
	go func() { _, _, _ = vfs.Open("app.db", mainDB); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		t.Error("the open goes on after OpenTimeout")
	}
	close(release)
	<-done
	_ = vfs.Close(context.Background())
}

// The replica is deleted and begun anew while the reader sleeps.
func TestReview_ReplicaBegunAnew(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE old (x)")
	for range 30 {
		p.Exec("INSERT INTO old SELECT hex(randomblob(1000))")
	}
	db := reviewDB(t, client, Options{})
	p.DeleteLevelBelow(0, 1000)
	q := ltxtest.New(t, client, ltxtest.Options{Start: time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)})
	q.Exec("CREATE TABLE new (y)")
	for range 39 {
		q.Exec("INSERT INTO new SELECT hex(randomblob(1000))")
	}
	err := db.poller.poll(true)
	v := db.current.Load()
	t.Logf("poll: %v; at %s", err, v.txid)
	if err == nil && v.txid == q.TXID() {
		img := q.Image(v.txid)
		wrong := 0
		for pgno := uint32(1); pgno <= v.commit; pgno++ {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			got, err := db.page(ctx, v, pgno)
			cancel()
			if err == nil && !bytes.Equal(got, img[int(pgno-1)*4096:][:4096]) {
				wrong++
			}
			if err != nil {
				t.Log(err)
			}
		}
		if wrong > 0 {
			t.Errorf("%d of %d pages are of another history", wrong, v.commit)
		}
	}
}

// A file is replaced by the same transactions encoded again.
func TestReview_EncodedAgain(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	p := reviewPrimary(t, client, 3)
	p.Compact(1, 1, 3)
	p.DeleteLevelBelow(0, 4)
	db := reviewDB(t, client, Options{CacheSize: -1})
	v := db.current.Load()
	pages := map[uint32][]byte{}
	img := p.Image(3)
	for i := range len(img) / 4096 {
		pages[uint32(i+1)] = img[i*4096:][:4096]
	}
	b := ltxtest.EncodeLTX(ltx.Header{PageSize: 4096, Commit: uint32(len(pages)), MinTXID: 1, MaxTXID: 3, Timestamp: p.Time(3).UnixMilli()}, pages, true)
	if _, err := client.WriteLTXFile(t.Context(), 1, 1, 3, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	_ = db.poller.poll(true)
	v = db.current.Load()
	wantPage(t, p, db, v, 1)
	wantPage(t, p, db, v, 2)
}

// One open fails; many try again at once.
func TestReview_FailedOpenSticks(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	reviewPrimary(t, client, 1)
	down := atomic.Bool{}
	down.Store(true)
	var calls, failures atomic.Int64
	vfs := NewVFS(nil, &Options{Logger: slog.New(slog.DiscardHandler), NewClient: func(string) (ReplicaClient, error) {
		if calls.Add(1) == 1 {
			time.Sleep(50 * time.Millisecond) // all others wait
			return nil, errors.New("no luck this time")
		}
		return client, nil
	}})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			for {
				f, _, _ := vfs.Open("app.db", mainDB)
				if c, ok := f.(*conn); ok {
					_ = c
					return
				}
				failures.Add(1)
			}
		})
	}
	wg.Wait()
	t.Logf("%d failures, %d calls of NewClient", failures.Load(), calls.Load())
	if failures.Load() > 200 {
		t.Errorf("one failure was reported %d times to 200", failures.Load())
	}
	_ = vfs.Close(context.Background())
}

// A gap stays: how many listings does that cost?
func TestReview_GapCostsListings(t *testing.T) {
	inBubble(t, Options{PollIdleAfter: -1}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		p.Exec("INSERT INTO t VALUES (1)")
		p.Exec("INSERT INTO t VALUES (1)")
		p.Delete(0, 2, 2)
		db.poller.use()
		before := client.lists.Load()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := client.lists.Load() - before; n > 120 {
			t.Errorf("%d listings in a minute", n)
		}
	})
}

func memoryNew() *memory.ReplicaClient { return memory.NewReplicaClient() }

// Many readers of one old view look for pages of one deleted file.
func TestReview_FindLoadsOnce(t *testing.T) {
	const n = 4000
	ctx := context.Background()
	client := &hookClient{ReplicaClient: memoryNew()}
	put := func(level int, min, max ltx.TXID, b []byte) {
		if _, err := client.WriteLTXFile(ctx, level, min, max, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	b := func(x byte) func(uint32) byte { return func(uint32) byte { return x } }
	put(9, 1, 2, encode(t, 1, 2, n, 1000, span(1, n), b(2)))
	put(0, 3, 3, encode(t, 3, 3, n, 3000, span(2, n), b(3)))
	put(0, 4, 4, encode(t, 4, 4, n, 4000, span(1, 1), b(4)))
	db := reviewDB(t, client, Options{CacheSize: -1})
	v := db.current.Load()
	put(1, 3, 4, encode(t, 3, 4, n, 4000, span(1, n), b(3)))
	put(0, 5, 5, encode(t, 5, 5, n, 5000, span(1, n), b(5)))
	_ = client.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: 0, MinTXID: 3, MaxTXID: 3}, {Level: 0, MinTXID: 4, MaxTXID: 4}})
	if _, err := db.refresh(ctx); err != nil {
		t.Fatal(err)
	}
	var loads atomic.Int64
	client.open = func(k fileKey, off, size int64) error {
		if k.level == 1 {
			time.Sleep(20 * time.Millisecond)
			if off == 0 {
				loads.Add(1)
			}
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, err := db.page(ctx, v, uint32(2+i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if loads.Load() > 4 {
		t.Errorf("one file was loaded %d times at once", loads.Load())
	}
}

// The source table after a long time of one file a second.
func TestReview_SourceTableGrowth(t *testing.T) {
	f, index := fakeFile(t, 1, 1, 4096, 64, allPages(4096, 64))
	v := mustAdvance(t, new(view), f, index)
	for txid := ltx.TXID(2); txid <= 200_000; txid++ {
		f, index := fakeFile(t, txid, txid, 4096, 64, scattered(uint32(txid%16)+1, 16, 64))
		v = mustAdvance(t, v, f, index)
	}
	if n := len(v.pages.sources.nodes); n > 1000 {
		t.Errorf("%d nodes copied with every edit, for %d files", n, len(v.files()))
	}
}

// A backlog that takes longer to load than one poll may.
func TestReview_BacklogNeverCaughtUp(t *testing.T) {
	client := &hookClient{ReplicaClient: memoryNew()}
	reviewPrimary(t, client, 1200)
	itr, _ := client.LTXFiles(context.Background(), 0, 2, false)
	var later []*ltx.FileInfo
	bodies := map[ltx.TXID][]byte{}
	for itr.Next() {
		f := itr.Item()
		r, _ := client.ReplicaClient.OpenLTXFile(context.Background(), 0, f.MinTXID, f.MaxTXID, 0, 0)
		bodies[f.MinTXID], _ = io.ReadAll(r)
		later = append(later, f)
	}
	_ = client.DeleteLTXFiles(context.Background(), later)
	synctest.Test(t, func(t *testing.T) {
		db, err := openDatabase(t.Context(), "app.db", client, Options{Logger: slog.New(slog.DiscardHandler)}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		for txid, b := range bodies {
			_, _ = client.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(b))
		}
		client.open = func(fileKey, int64, int64) error { time.Sleep(time.Second); return nil }
		for range 10 {
			db.poller.use()
			time.Sleep(30 * time.Second)
		}
		if got := db.current.Load().txid; got == 1 {
			t.Errorf("after %v of polling not one of 1199 transactions shows; %d reads", 5*time.Minute, client.opens.Load())
		}
		_ = db.close(context.Background())
	})
}
