package write

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
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
)

// bed is write mode of a database whose replica is in memory and whose write buffer
// is in a folder of the test. It keeps the pages that were committed, to compare
// them with those of the replica.
type bed struct {
	*Writer
	*Deps
	t      *testing.T
	client *bedClient
	index  *bedIndex
	tiers  *bedTiers
	pages  *bedPages
	log    *bytes.Buffer // log of the process
	path   string        // of the write buffer
	owner  commitlog.Owner
	event  func(event string) error
	fills  map[uint32]byte // what pages were filled with last
	fill   byte            // what the pages of the last commit were filled with
	news   int             // number of calls of Compact
}

// inBed runs a test in write mode of an empty database, with a clock of its own.
// Syncs are due every minute.
func inBed(t *testing.T, test func(b *bed)) {
	t.Helper()
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		b := &bed{t: t, client: &bedClient{t: t, ReplicaClient: memory.NewReplicaClient()}, fills: make(map[uint32]byte)}
		b.path = filepath.Join(t.TempDir(), "buffer")
		b.start()
		if err := b.Enable(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		defer func() { b.stop() }()
		test(b)
	})
}

// start makes a process that reads the replica. Write mode is off.
func (b *bed) start() {
	b.t.Helper()
	b.log = new(bytes.Buffer)
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.index, b.tiers, b.pages = &bedIndex{bed: b}, &bedTiers{kept: make(map[pages.Key][]byte)}, &bedPages{bed: b}
	tasks := task.NewGroup()
	b.Deps = &Deps{
		Store: &remote.Store{Client: b.client, Log: log, Tasks: tasks},
		Views: new(view.Views), Tasks: tasks, Log: log, Owner: b.owner,
		Opts: Options{
			Enabled: true, SyncInterval: time.Minute, BufferPath: b.path, BufferMaxSize: 100 * testPageSize,
			ReadTimeout: 10 * time.Second, CacheSize: 20 * testPageSize, Now: time.Now,
			Disk: func(event string) error {
				if b.event != nil {
					return b.event(event)
				}
				return nil
			},
		},
		Tiers: b.tiers, Pages: b.pages, Index: b.index,
		Pinned: func() []*view.View { return nil }, Compact: func() { b.news++ }, FollowAgain: func() {},
	}
	b.Views.Current.Store(b.Views.NewState(new(view.View)))
	b.Writer = New(b.Deps)
	if err := b.index.CatchUp(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

// stop ends the process, after a close that cannot sync anything.
func (b *bed) stop() {
	b.t.Helper()
	before := b.client.refuse(func(string) error { return fs.ErrPermission })
	defer func() { b.client.refuse(before) }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = b.Writer.Close(ctx, -1)
	b.Tasks.Close(errs.ErrClosed)
	b.Tasks.Wait()
}

// restart begins the next process. What it recovers is not synced yet.
func (b *bed) restart() error {
	b.t.Helper()
	b.stop()
	b.start()
	return b.Enable(b.t.Context(), false)
}

// begin returns a connection that holds the writer slot.
func (b *bed) begin() *fakeHolder {
	b.t.Helper()
	h := &fakeHolder{b.Views.Newest()}
	if err := b.Begin(h); err != nil {
		b.t.Fatal(err)
	}
	return h
}

// commit commits pages with a new content, and returns the number of the commit.
func (b *bed) commit(pgnos ...uint32) uint64 {
	b.t.Helper()
	return b.commitTo(0, pgnos...)
}

// commitTo is commit, and sets the size of the database in pages; 0: it grows as
// it has to.
func (b *bed) commitTo(size uint32, pgnos ...uint32) uint64 {
	b.t.Helper()
	h := b.begin()
	defer b.End(h)
	tx := NewTransaction(h.pinned, nil)
	defer tx.Drop()
	b.fill++
	for _, pgno := range pgnos {
		if err := tx.Write(bedPage(pgno, b.fill), int64(pgno-1)*testPageSize); err != nil {
			b.t.Fatal(err)
		}
	}
	if size > 0 {
		if err := tx.Truncate(int64(size) * testPageSize); err != nil {
			b.t.Fatal(err)
		}
	}
	c, err := b.Append(tx, true)
	if err == nil {
		err = b.Finish(h, tx, []*LocalCommit{c})
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for _, pgno := range pgnos {
		b.fills[pgno] = b.fill
	}
	for pgno := range b.fills {
		if pgno > c.Size {
			delete(b.fills, pgno)
		}
	}
	return c.Number
}

// tryCommit commits page 2 with a new content.
func (b *bed) tryCommit(durable bool) error {
	b.t.Helper()
	h := b.begin()
	defer b.End(h)
	tx := NewTransaction(h.pinned, nil)
	defer tx.Drop()
	if err := tx.Write(bedPage(2, b.fill+1), testPageSize); err != nil {
		b.t.Fatal(err)
	}
	c, err := b.Append(tx, durable)
	if err == nil {
		err = b.Finish(h, tx, []*LocalCommit{c})
	}
	if err == nil {
		b.fill++
		b.fills[2] = b.fill
	}
	return err
}

// bedPage returns a page as the bed commits it.
func bedPage(pgno uint32, fill byte) []byte {
	if pgno > 1 {
		return testPage(pgno, fill)
	}
	page := bytes.Repeat([]byte{fill}, testPageSize)
	clear(page[:dbheader.Size]) // no size is valid there
	copy(page, testPage(1, 0)[:dbheader.OffReadVersion+1])
	page[dbheader.OffWriteVersion], page[dbheader.OffReadVersion] = 1, 1
	return page
}

// sync waits until all commits are on the replica, and the sync has ended.
func (b *bed) sync() {
	b.t.Helper()
	if err := b.trySync(); err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
}

// trySync waits for five minutes at most until all commits are on the replica.
func (b *bed) trySync() error {
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Minute)
	defer cancel()
	return b.Sync(ctx)
}

// want compares the files of the replica, given like "0/1-1 0/2-2".
func (b *bed) want(files string) {
	b.t.Helper()
	if got := names(b.files()); got != files {
		b.t.Errorf("the replica has %s, want %s", got, files)
	}
}

// files lists the replica.
func (b *bed) files() []*ltx.FileInfo {
	b.t.Helper()
	s := &remote.Store{Client: b.client.ReplicaClient}
	files, err := s.ListAll(b.t.Context(), false)
	if err != nil {
		b.t.Fatal(err)
	}
	return files
}

// names prints files like "0/1-1 0/2-2".
func names(files []*ltx.FileInfo) string {
	var all []string
	for _, f := range files {
		all = append(all, shortName(view.KeyOf(f)))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func shortName(k view.Key) string { return fmt.Sprintf("%d/%d-%d", k.Level, k.MinTXID, k.MaxTXID) }

// keyOf parses a name like "0/1-1".
func (b *bed) keyOf(name string) (k view.Key) {
	b.t.Helper()
	if _, err := fmt.Sscanf(name, "%d/%d-%d", &k.Level, &k.MinTXID, &k.MaxTXID); err != nil {
		b.t.Fatal(name, err)
	}
	return k
}

// wantPages compares the newest state that the replica gives with what was committed.
func (b *bed) wantPages() {
	b.t.Helper()
	files := b.files()
	plan, err := view.PlanLatest(0, files)
	if err != nil {
		b.t.Fatal(err)
	}
	got := make(map[uint32][]byte)
	commit := uint32(0)
	for _, f := range plan {
		hdr, pages := b.decode(view.KeyOf(f))
		commit = hdr.Commit
		for pgno, page := range pages {
			got[pgno] = page
		}
	}
	for pgno := uint32(1); pgno <= commit; pgno++ {
		want := make([]byte, testPageSize)
		if fill, ok := b.fills[pgno]; ok {
			want = bedPage(pgno, fill)
		}
		if !bytes.Equal(got[pgno], want) {
			b.t.Errorf("page %d of the replica is not what was committed", pgno)
		}
	}
	if v := b.Views.Newest(); v.Commit != commit {
		b.t.Errorf("the replica has %d pages, want %d", commit, v.Commit)
	}
}

// decode reads a file of the replica.
func (b *bed) decode(k view.Key) (ltx.Header, map[uint32][]byte) {
	b.t.Helper()
	body, err := b.client.ReplicaClient.OpenLTXFile(b.t.Context(), k.Level, k.MinTXID, k.MaxTXID, 0, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	defer body.Close()
	dec := ltx.NewDecoder(body)
	if err := dec.DecodeHeader(); err != nil {
		b.t.Fatal(err)
	}
	pages := make(map[uint32][]byte)
	for {
		var h ltx.PageHeader
		page := make([]byte, dec.Header().PageSize)
		if err := dec.DecodePage(&h, page); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			b.t.Fatal(err)
		}
		pages[h.Pgno] = page
	}
	if err := dec.Close(); err != nil {
		b.t.Fatal(err)
	}
	return dec.Header(), pages
}

// put writes a file of the replica as another process does: with the given pages
// at a time, all filled with 200.
func (b *bed) put(name string, at int64, commit uint32, pgnos ...uint32) {
	b.t.Helper()
	pages := make(map[uint32][]byte)
	for _, pgno := range pgnos {
		pages[pgno] = bedPage(pgno, 200)
	}
	b.write(name, ltx.Header{PageSize: testPageSize, Commit: commit, Timestamp: at}, pages)
}

func (b *bed) write(name string, hdr ltx.Header, pages map[uint32][]byte) {
	b.t.Helper()
	k := b.keyOf(name)
	hdr.MinTXID, hdr.MaxTXID = k.MinTXID, k.MaxTXID
	_, err := b.client.ReplicaClient.WriteLTXFile(b.t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(ltxtest.EncodeLTX(hdr, pages, false)))
	if err != nil {
		b.t.Fatal(err)
	}
}

// merge makes a file of the files of level 0 with its transactions, as compaction
// does.
func (b *bed) merge(name string) {
	b.t.Helper()
	k := b.keyOf(name)
	var hdr ltx.Header
	merged := make(map[uint32][]byte)
	for txid := k.MinTXID; txid <= k.MaxTXID; txid++ {
		var pages map[uint32][]byte
		hdr, pages = b.decode(view.Key{MinTXID: txid, MaxTXID: txid})
		for pgno, page := range pages {
			merged[pgno] = page
		}
	}
	for pgno := range merged {
		if pgno > hdr.Commit {
			delete(merged, pgno)
		}
	}
	b.write(name, ltx.Header{PageSize: hdr.PageSize, Commit: hdr.Commit, Timestamp: hdr.Timestamp}, merged)
}

// remove deletes files of the replica.
func (b *bed) remove(names ...string) {
	b.t.Helper()
	for _, name := range names {
		k := b.keyOf(name)
		if err := b.client.ReplicaClient.DeleteLTXFiles(b.t.Context(), []*ltx.FileInfo{{Level: k.Level, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID}}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// newest returns the time of the newest state.
func (b *bed) newest() int64 { return b.Views.Newest().Timestamp }

// local returns the names of the files beside the write buffer, without its path.
func (b *bed) local() string {
	b.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(b.path))
	if err != nil {
		b.t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, strings.TrimPrefix(e.Name(), "buffer"))
	}
	return strings.Join(all, " ")
}

// open opens a file beside the write buffer.
func (b *bed) open(name string) *os.File {
	b.t.Helper()
	f, err := os.OpenFile(b.path+name, os.O_RDWR, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return f
}

// bedClient is a replica in memory that notes requests, and can refuse them.
type bedClient struct {
	*memory.ReplicaClient
	t *testing.T

	mu       sync.Mutex
	requests []string                   // like "list", "list 0/3", "read 0/1-1", "create 0/1-1"
	at       []time.Time                // when these requests began
	refused  func(request string) error // fails a request; nil: none fails
}

// refuse lets fn decide from now on which requests fail; nil: none does. It returns
// what has decided that before.
func (c *bedClient) refuse(fn func(request string) error) (before func(request string) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.refused = c.refused, fn
	return before
}

func (c *bedClient) begin(request string) error {
	c.mu.Lock()
	c.requests, c.at = append(c.requests, request), append(c.at, time.Now())
	refused := c.refused
	c.mu.Unlock()
	if refused == nil {
		return nil
	}
	return refused(request)
}

// take returns the requests since the last call.
func (c *bedClient) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Join(c.requests, ", ")
	c.requests, c.at = nil, nil
	return all
}

// times returns when the requests since the last call of take began.
func (c *bedClient) times() []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.at)
}

func (c *bedClient) list(request string, metadata bool, list func() (ltx.FileIterator, error)) (ltx.FileIterator, error) {
	if metadata {
		c.t.Errorf("%s asks for the times of files, which write mode does not use", request)
	}
	if err := c.begin(request); err != nil {
		return nil, err
	}
	return list()
}

func (c *bedClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, metadata bool) (ltx.FileIterator, error) {
	return c.list(fmt.Sprintf("list %d/%d", level, seek), metadata, func() (ltx.FileIterator, error) {
		return c.ReplicaClient.LTXFiles(ctx, level, seek, metadata)
	})
}

func (c *bedClient) AllLTXFiles(ctx context.Context, metadata bool) (ltx.FileIterator, error) {
	return c.list("list", metadata, func() (ltx.FileIterator, error) { return c.ReplicaClient.AllLTXFiles(ctx, metadata) })
}

func (c *bedClient) OpenLTXFile(ctx context.Context, level int, first, last ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if err := c.begin("read " + shortName(view.Key{Level: level, MinTXID: first, MaxTXID: last})); err != nil {
		return nil, err
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, first, last, offset, size)
}

func (c *bedClient) CreateLTXFile(ctx context.Context, level int, first, last ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if err := c.begin("create " + shortName(view.Key{Level: level, MinTXID: first, MaxTXID: last})); err != nil {
		return nil, err
	}
	return c.ReplicaClient.CreateLTXFile(ctx, level, first, last, r)
}

func (c *bedClient) DeleteLTXFiles(ctx context.Context, files []*ltx.FileInfo) error {
	if err := c.begin("delete " + names(files)); err != nil {
		return err
	}
	return c.ReplicaClient.DeleteLTXFiles(ctx, files)
}

// bedIndex follows the replica.
type bedIndex struct {
	*bed
	replaced func(files []*ltx.FileInfo) bool // nil: it never is
	err      error                            // that IsReplaced returns
	asked    int                              // number of calls of IsReplaced
	pointed  []string                         // files that PointTo was called with
}

func (i *bedIndex) CatchUp(ctx context.Context) error {
	s := &remote.Store{Client: i.client.ReplicaClient} // its requests are not noted
	files, err := s.ListAll(ctx, false)
	if err != nil {
		return err
	}
	cur := i.Views.Current.Load()
	plan, _ := view.PlanLatest(cur.TXID, files)
	if len(plan) == 0 {
		return nil
	}
	next := cur
	for _, f := range plan {
		l, err := s.LoadFile(ctx, f)
		if err != nil {
			return err
		}
		if next, err = next.Advance(l.File, l.Index); err != nil {
			return err
		}
	}
	return i.Replace(cur, i.Views.NewState(next))
}

func (i *bedIndex) IsReplaced(_ context.Context, _ *view.View, files []*ltx.FileInfo) (bool, error) {
	i.asked++
	if i.err != nil {
		return false, i.err
	}
	return i.replaced != nil && i.replaced(files), nil
}

func (i *bedIndex) PointTo(l *remote.Loaded) error {
	i.pointed = append(i.pointed, shortName(l.File.Key()))
	return nil
}

// bedPages reads pages where views say that they are.
type bedPages struct {
	*bed
	prefetched []uint32
	have       map[uint32][]byte // pages that are read from elsewhere
	err        error             // of each page
}

func (p *bedPages) Page(ctx context.Context, v *view.View, pgno uint32) ([]byte, error) {
	if page, ok := p.have[pgno]; ok {
		return page, nil
	}
	loc, ok := v.Lookup(pgno)
	if p.err != nil || !ok {
		return nil, p.err
	}
	page := make([]byte, v.PageSize)
	if loc.File.Segment != nil {
		return page, loc.ReadSegment(pgno, page)
	}
	frame := make([]byte, loc.Size)
	if err := p.Store.Load(ctx, loc.File.Key(), frame, loc.Offset); err != nil {
		return nil, err
	}
	return page, ltxio.DecodeFrame(page, frame, pgno)
}

func (p *bedPages) Prefetch(_ *view.View, pgnos []uint32) {
	p.prefetched = append(p.prefetched, pgnos...)
}

// bedTiers notes what write mode gives to the tiers.
type bedTiers struct {
	resets  []uint32
	kept    map[pages.Key][]byte
	offered []pages.Key
	takes   bool // TakesOffers
	notices int
}

func (t *bedTiers) Reset(pageSize uint32)           { t.resets = append(t.resets, pageSize) }
func (t *bedTiers) Keep(key pages.Key, page []byte) { t.kept[key] = page }
func (t *bedTiers) TakesOffers() bool               { return t.takes }
func (t *bedTiers) Notify()                         { t.notices++ }
func (t *bedTiers) Offer(ctx context.Context, key pages.Key, _ []byte) {
	if ctx.Err() == nil { // otherwise it has no time to take the page
		t.offered = append(t.offered, key)
	}
}
