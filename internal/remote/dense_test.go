package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// snapshotFile is a snapshot whose page index is too large to be read whole, and
// a store that has it.
type snapshotFile struct {
	*Store
	b     []byte
	info  *ltx.FileInfo
	file  *ltxio.File
	at    map[uint32]ltxio.Entry
	reads atomic.Int64
	bytes atomic.Int64
	delay time.Duration
}

// snapshotPages is the number of pages of the snapshots.
const snapshotPages = 60_000

var encodeSnapshot = sync.OnceValue(func() []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	pages := make(map[uint32][]byte)
	for pgno := uint32(1); pgno <= snapshotPages; pgno++ {
		page := make([]byte, 512)
		most := 20 + pgno/1000*4
		for i := range page[:rng.Uint32N(most)] {
			page[i] = byte(rng.Uint32())
		}
		pages[pgno] = page
	}
	return ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: snapshotPages, MinTXID: 1, MaxTXID: 5, Timestamp: 1}, pages, false)
})

// newSnapshotFile returns a snapshot of which change has changed bytes.
func newSnapshotFile(t *testing.T, change func(b []byte)) *snapshotFile {
	t.Helper()
	f := &snapshotFile{b: encodeSnapshot(), at: make(map[uint32]ltxio.Entry)}
	var err error
	if f.file, err = ltxio.ParseFile(f.b, 1, 5); err != nil {
		t.Fatal(err)
	}
	f.file.Index.Each(func(e ltxio.Entry) bool { f.at[e.Pgno] = e; return true })
	if change != nil {
		f.b = bytes.Clone(f.b)
		change(f.b)
	}
	f.info = &ltx.FileInfo{Level: 9, MinTXID: 1, MaxTXID: 5, Size: int64(len(f.b))}
	f.Store = &Store{Client: snapshotClient{memory.NewReplicaClient(), f}, Log: slog.New(slog.DiscardHandler)}
	return f
}

// snapshotClient is a replica that has the snapshot only.
type snapshotClient struct {
	*memory.ReplicaClient
	f *snapshotFile
}

func (c snapshotClient) OpenLTXFile(ctx context.Context, _ int, _, _ ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c.f.reads.Add(1)
	if c.f.delay > 0 {
		select {
		case <-time.After(c.f.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	c.f.bytes.Add(size)
	return io.NopCloser(bytes.NewReader(c.f.b[offset : offset+size])), nil
}

func (f *snapshotFile) load(t *testing.T) *view.View {
	t.Helper()
	l, err := f.LoadFile(t.Context(), f.info)
	if err != nil {
		t.Fatal(err)
	}
	if l.File.Dense == nil {
		t.Fatal("the page index was read whole")
	}
	v, err := new(view.View).Advance(l.File, l.Index)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (f *snapshotFile) check(t *testing.T, v *view.View, pgno uint32) {
	t.Helper()
	loc, ok := v.Lookup(pgno)
	if !ok {
		t.Fatalf("page %d is not there", pgno)
	}
	loc, err := f.Locate(t.Context(), pgno, loc)
	if want := f.at[pgno]; err != nil || loc.Offset != want.Offset || loc.Size != want.Size {
		t.Fatalf("page %d is at %d+%d, want %+v: %v", pgno, loc.Offset, loc.Size, want, err)
	}
}

// TestPromise11_LargeIndex loads a file with a large page index, and finds pages
// in it.
func TestPromise11_LargeIndex(t *testing.T) {
	f := newSnapshotFile(t, nil)
	v := f.load(t)
	if reads, bytes := f.reads.Load(), f.bytes.Load(); reads != 2 || bytes > headSize+unreadFrom {
		t.Errorf("to load the file takes %d reads of %d bytes", reads, bytes)
	}
	for _, pgno := range []uint32{1, 2, 100, snapshotPages, snapshotPages - 1} {
		f.check(t, v, pgno)
	}
	if n := f.reads.Load(); n != 2 {
		t.Errorf("%d reads for pages at the ends", n-2)
	}
	rng := rand.New(rand.NewPCG(2, 2))
	total := int64(0)
	for range 50 {
		v := f.load(t)
		before := f.reads.Load()
		f.check(t, v, 1+rng.Uint32N(snapshotPages))
		total += f.reads.Load() - before
	}
	if total > 60 {
		t.Errorf("%d reads of the page index for 50 pages", total)
	}
}

// TestLocate_Concurrent looks for many pages at the same time. A part of the index
// is read once, and a caller that gives up does not disturb the others.
func TestLocate_Concurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newSnapshotFile(t, nil)
		v := f.load(t)
		f.delay = time.Second
		before := f.reads.Load()
		var wg sync.WaitGroup
		for i := range uint32(50) {
			wg.Go(func() { f.check(t, v, 20_000+i) })
		}
		wg.Wait()
		if n := f.reads.Load() - before; n > 2 {
			t.Errorf("%d reads for pages next to each other", n)
		}

		v = f.load(t)
		loc, _ := v.Lookup(25_000)
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := f.Locate(ctx, 25_000, loc); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled: %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() { f.check(t, v, 25_001) })
		synctest.Wait()
		cancel()
		wg.Wait()
		if running := len(f.windows.mu.all); running != 0 {
			t.Errorf("%d reads are left over", running)
		}
	})
}

// sumOfFrames returns the sum of all frames of the file.
func (f *snapshotFile) sumOfFrames(t *testing.T) (sum ltxio.Sum) {
	t.Helper()
	page := make([]byte, 512)
	f.file.Index.Each(func(e ltxio.Entry) bool {
		frame := f.b[e.Offset : e.Offset+int64(e.Size)]
		if err := ltxio.DecodeFrame(page, frame, e.Pgno); err != nil {
			t.Fatal(err)
		}
		sum.AddFrame(frame, page)
		return true
	})
	return sum
}

// TestCompleteIndex reads all of an index, after some pages were looked for.
func TestCompleteIndex(t *testing.T) {
	f := newSnapshotFile(t, nil)
	v := f.load(t)
	f.check(t, v, 30_000)
	before := f.bytes.Load()
	if files := v.Unread(); len(files) != 1 || v.Last.KnowsFrames() || v.Last.HasFrames(f.sumOfFrames(t)) {
		t.Fatal("the index is complete before it was read")
	}
	if err := f.CompleteIndex(t.Context(), v.Last, f.ReadIndexPart); err != nil {
		t.Fatal(err)
	}
	d := v.Last.Dense
	if n := f.bytes.Load() - before; n > (d.End-d.Start)*101/100 {
		t.Errorf("%d bytes were read of an index of %d", n, d.End-d.Start)
	}
	if len(v.Unread()) != 0 || !v.Last.HasFrames(f.sumOfFrames(t)) || v.Last.HasFrames(ltxio.Sum{}) {
		t.Error("the file does not have the sum of its frames")
	}
	reads := f.reads.Load()
	for pgno := uint32(1); pgno <= snapshotPages; pgno++ {
		f.check(t, v, pgno)
	}
	if n := f.reads.Load() - reads; n != 0 {
		t.Errorf("%d reads after the index is complete", n)
	}
	if err := f.CompleteIndex(t.Context(), v.Last, f.ReadIndexPart); err != nil || f.reads.Load() != reads {
		t.Errorf("a complete index is read again: %v", err)
	}
}

// TestPromise8_IndexSize looks for every page, while only a small part of the
// index may be in memory.
func TestPromise8_IndexSize(t *testing.T) {
	f := newSnapshotFile(t, nil)
	const limit = 64 << 10
	f.Indexes = view.NewBudget(limit)
	v := f.load(t)
	for pgno := uint32(1); pgno <= snapshotPages; pgno++ {
		f.check(t, v, pgno)
		if n := f.Indexes.Used(); n > limit {
			t.Fatalf("the index takes %d bytes at page %d", n, pgno)
		}
	}
	d := v.Last.Dense
	if n := f.bytes.Load(); n > 3*(d.End-d.Start) {
		t.Errorf("%d bytes were read of an index of %d, for all pages in order", n, d.End-d.Start)
	}
	if err := f.CompleteIndex(t.Context(), v.Last, f.ReadIndexPart); err != nil {
		t.Fatal(err)
	}
	if n := f.Indexes.Used(); n > limit || len(v.Unread()) != 1 {
		t.Errorf("the index takes %d bytes", n)
	}
	if !v.Last.HasFrames(f.sumOfFrames(t)) {
		t.Error("the file does not have the sum of its frames")
	}
}

// TestLocate_Corrupt changes a byte of the page index. Pages whose part of the
// index has the byte give an error that names the file, and so does reading all.
func TestLocate_Corrupt(t *testing.T) {
	intact := newSnapshotFile(t, nil).load(t).Last.Dense
	for name, at := range map[string]int64{
		"first entry": intact.Start, "before the entries": intact.Start - 3, "middle": (intact.Start + intact.End) / 2,
	} {
		t.Run(name, func(t *testing.T) {
			f := newSnapshotFile(t, func(b []byte) { b[at] ^= 0x11 })
			v := f.load(t)
			err := f.CompleteIndex(t.Context(), v.Last, f.ReadIndexPart)
			if !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), v.Last.String()) {
				t.Errorf("to read all: %v", err)
			}
			v = f.load(t)
			failed := 0
			for pgno := uint32(500); pgno <= snapshotPages; pgno += 97 {
				loc, _ := v.Lookup(pgno)
				switch loc, err := f.Locate(t.Context(), pgno, loc); {
				case err == nil:
					if want := f.at[pgno]; loc.Offset != want.Offset || loc.Size != want.Size {
						t.Fatalf("page %d is at %+v, want %+v", pgno, loc, want)
					}
				case !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), v.Last.String()):
					t.Fatalf("page %d: %v", pgno, err)
				default:
					failed++
				}
			}
			if failed == 0 {
				t.Error("no page fails")
			}
		})
	}
}
