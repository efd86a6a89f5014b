package hydrate

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// bedPageSize is the size of the pages of a bed, bytes.
const bedPageSize = 512

// bed is a database of a hundred pages on a replica in memory, and what one process
// needs to hydrate it. Tests change the functions before they start a hydrator.
type bed struct {
	t      *testing.T
	client *bedClient
	access *Access
	log    *testlog.Buffer

	forgotten atomic.Int32 // calls of ForgetServed
	uses      atomic.Int32 // calls of LastUse
	content   map[uint32][]byte

	mu    sync.Mutex
	files []*ltx.FileInfo // guarded by mu
}

// bedClient is a client with a function that can fail its reads, or wait before them.
type bedClient struct {
	*memory.ReplicaClient
	read func(minTXID ltx.TXID, offset, size int64) error
}

func (c *bedClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if err := c.read(minTXID, offset, size); err != nil {
		return nil, err
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// bedPage returns the content of a page in a version. It does not compress.
func bedPage(pgno uint32, version ltx.TXID, size int) []byte {
	var seed [32]byte
	binary.BigEndian.PutUint32(seed[:], pgno)
	binary.BigEndian.PutUint64(seed[4:], uint64(version))
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	return b
}

// newBed returns a bed with a snapshot of a hundred pages, which is transaction 1.
func newBed(t *testing.T) *bed {
	t.Helper()
	b := emptyBed(t, memory.NewReplicaClient())
	b.apply(1, 100, bedPageSize)
	return b
}

// emptyBed returns a bed without a database.
func emptyBed(t *testing.T, client *memory.ReplicaClient) *bed {
	t.Helper()
	b := &bed{t: t, log: new(testlog.Buffer), content: make(map[uint32][]byte)}
	b.client = &bedClient{client, func(ltx.TXID, int64, int64) error { return nil }}
	tasks := task.NewGroup()
	b.access = &Access{
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Tasks: tasks,
		Views: new(view.Views), Buffers: new(pages.BufferPool),
		Refresh:      func(context.Context) {},
		RefreshAnew:  func(context.Context) ([]*ltx.FileInfo, error) { return b.listed(), nil },
		EpochOf:      func(context.Context, *view.View, []*ltx.FileInfo) (uint32, error) { return b.view().Epoch, nil },
		Fresh:        time.Now,
		Distrust:     func(*view.File, error) {},
		LastUse:      func() time.Time { b.uses.Add(1); return time.Time{} },
		ForgetServed: func() { b.forgotten.Add(1) },
	}
	b.access.Store = &remote.Store{Client: b.client, Log: b.access.Log, Tasks: tasks}
	b.access.Views.Current.Store(new(view.View))
	t.Cleanup(b.close)
	return b
}

// another returns a bed of another process with the same replica and view.
func (b *bed) another() *bed {
	b.t.Helper()
	n := emptyBed(b.t, b.client.ReplicaClient)
	n.files, n.content = b.listed(), b.content
	n.access.Views.Current.Store(b.view())
	return n
}

func (b *bed) close() {
	b.access.Tasks.Close(errs.ErrClosed)
	b.access.Tasks.Wait()
}

func (b *bed) view() *view.View { return b.access.Views.Current.Load() }

func (b *bed) listed() []*ltx.FileInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*ltx.FileInfo(nil), b.files...)
}

// apply writes a file of the next transaction with some pages, all of them if none is
// named, and makes the view after it the current one.
func (b *bed) apply(txid ltx.TXID, commit uint32, pageSize int, pgnos ...uint32) {
	b.t.Helper()
	changed := make(map[uint32][]byte)
	if len(pgnos) == 0 {
		for pgno := range commit {
			pgnos = append(pgnos, pgno+1)
		}
	}
	for _, pgno := range pgnos {
		changed[pgno] = bedPage(pgno, txid, pageSize)
	}
	b.applyPages(txid, commit, pageSize, changed)
}

// applyPages is apply for pages with a content.
func (b *bed) applyPages(txid ltx.TXID, commit uint32, pageSize int, changed map[uint32][]byte) {
	b.t.Helper()
	for pgno, page := range changed {
		b.content[pgno] = page
	}
	file := ltxtest.EncodeLTX(ltx.Header{PageSize: uint32(pageSize), Commit: commit, MinTXID: txid, MaxTXID: txid, Timestamp: 1000 * int64(txid)}, changed, false)
	info, err := b.client.WriteLTXFile(b.t.Context(), 0, txid, txid, bytes.NewReader(file))
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.files = append(b.files, info)
	b.mu.Unlock()
	l, err := b.access.Store.LoadFile(b.t.Context(), info)
	if err != nil {
		b.t.Fatal(err)
	}
	l.File.IsWhole = false // as if it was so large that only its page index was read
	v, err := b.view().Advance(l.File, l.Index)
	if err != nil {
		b.t.Fatal(err)
	}
	b.access.Views.Current.Store(v)
}

// damage changes a byte of a file of the replica.
func (b *bed) damage(txid ltx.TXID, offset int64) {
	b.t.Helper()
	r, err := b.client.ReplicaClient.OpenLTXFile(b.t.Context(), 0, txid, txid, 0, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	file, err := io.ReadAll(r)
	if err != nil {
		b.t.Fatal(err)
	}
	file[offset] ^= 0x55
	if _, err := b.client.WriteLTXFile(b.t.Context(), 0, txid, txid, bytes.NewReader(file)); err != nil {
		b.t.Fatal(err)
	}
}

// key returns the key of a page of the current view.
func (b *bed) key(pgno uint32) pages.Key {
	loc, _ := b.view().Lookup(pgno)
	return pages.Key{Epoch: b.view().Epoch, Pgno: pgno, Version: loc.Version}
}

// new returns a hydrator with options, some of which are set here.
func (b *bed) new(opts Options) *Hydrator {
	opts.Name, opts.Concurrency = "app.db", 2
	if opts.ReadTimeout == 0 {
		opts.ReadTimeout = -1
	}
	return New(b.access, opts)
}

// start starts a hydrator.
func (b *bed) start(opts Options) *Hydrator {
	h := b.new(opts)
	h.Start()
	return h
}

// offerAll offers all pages of the current view, as queries do that read them.
func (b *bed) offerAll(h *Hydrator) {
	for pgno := range b.view().Commit {
		h.Tier.Offer(b.key(pgno+1), b.content[pgno+1], false)
	}
}

// reads returns how many requests hydration has made.
func (b *bed) reads() int64 { return b.access.Store.Reads[remote.Hydrating].Load() }

// want compares the progress of a hydrator and what it serves.
func (b *bed) want(h *Hydrator, status Status, local, verified int64) {
	b.t.Helper()
	p := h.Progress()
	if p.Status != status || p.Pages != local || p.VerifiedPages != verified {
		b.t.Errorf("%s, %d pages, %d of them verified, want %s, %d and %d: %s\n%s", p.Status, p.Pages, p.VerifiedPages, status, local, verified, p.Error, b.log)
	}
	for pgno := uint32(1); pgno <= b.view().Commit; pgno++ {
		page := h.Tier.Read(b.key(pgno))
		if page != nil && !bytes.Equal(page, b.content[pgno]) {
			b.t.Fatalf("page %d has another content", pgno)
		}
		if page == nil && local == int64(b.view().Commit) {
			b.t.Fatalf("page %d is not there", pgno)
		}
	}
}
