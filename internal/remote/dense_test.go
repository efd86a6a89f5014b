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

// TestCompleteIndex_Parts reads all of an index in parts of several sizes. None is read
// twice, and together they give the sum of the file.
func TestCompleteIndex_Parts(t *testing.T) {
	f := newSnapshotFile(t, nil)
	d := f.load(t).Last.Dense
	size := d.End - d.Start
	for _, part := range []int64{size, size - 1, (size + 1) / 2, 100 << 10, 99_991} {
		v := f.load(t)
		var reads, landed atomic.Int64
		err := f.completeIndex(t.Context(), v.Last, part, func(ctx context.Context, file *view.File, buf []byte, offset int64) error {
			reads.Add(1)
			return f.ReadIndexPart(ctx, file, buf, offset)
		}, func() { landed.Add(1) })
		want := (size + part - 1) / part
		if n := reads.Load(); err != nil || n != want || landed.Load() != want {
			t.Errorf("parts of %d bytes: %d reads, %d landed, want %d: %v", part, n, landed.Load(), want, err)
		}
		if len(v.Unread()) != 0 || !v.Last.HasFrames(f.sumOfFrames(t)) {
			t.Errorf("parts of %d bytes: the file does not have the sum of its frames", part)
		}
	}
}

// TestReadWindow says what is read for a part of an index: a part for the sum begins a
// little earlier, and the first one with what is between frames and entries. The bytes
// go into the room that there is.
func TestReadWindow(t *testing.T) {
	f := newSnapshotFile(t, nil)
	d := f.load(t).Last.Dense
	room := make([]byte, 50<<10)
	for _, tt := range []struct {
		name     string
		from, to int64 // after the beginning of the entries
		room     []byte
		sum      *ltxio.Sum
		start    int64
		isRoom   bool
	}{
		{"the first part", 0, 10_000, room, nil, d.FramesEnd - d.Start, true},
		{"the first part, for the sum", 0, 10_000, room, new(ltxio.Sum), d.FramesEnd - d.Start, true},
		{"another part", 20_000, 40_000, room, nil, 20_000, true},
		{"another part, for the sum", 20_000, 40_000, room, new(ltxio.Sum), 20_000 - overlap, true},
		{"a part that fills the room", 20_000, 20_000 + int64(len(room)), room, nil, 20_000, true},
		{"a larger part", 20_000, 20_001 + int64(len(room)), room, nil, 20_000, false},
		{"a part without room", 20_000, 40_000, nil, nil, 20_000, false},
	} {
		v := f.load(t)
		_, err := f.readWindow(v.Last, d.Start+tt.from, d.Start+tt.to, tt.room, func(buf []byte, offset int64) error {
			if offset != d.Start+tt.start || int64(len(buf)) != tt.to-tt.start {
				t.Errorf("%s: it reads %d bytes at %d", tt.name, len(buf), offset-d.Start)
			}
			if got := &buf[0] == &room[0]; got != tt.isRoom {
				t.Errorf("%s: it reads into the room: %v", tt.name, got)
			}
			return f.ReadIndexPart(t.Context(), v.Last, buf, offset)
		}, tt.sum)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// What the ends of a file say is known without a read: the last pages from 64 bytes of
// the index on. A file whose first frames are of other pages is not loaded.
func TestLoadDense_Ends(t *testing.T) {
	f := newSnapshotFile(t, nil)
	d := f.load(t).Last.Dense
	for n, want := range map[int64]bool{overlap - 1: false, overlap: true, overlap + 1: true} {
		tail := f.b[d.End-n:]
		l, err := f.loadDense(f.info, f.file.Header, f.b[:headSize], tail)
		if err != nil {
			t.Fatal(err)
		}
		if _, size := l.File.Dense.Find(snapshotPages); (size > 0) != want {
			t.Errorf("with %d bytes of the index, the place of the last page is known: %v", n, !want)
		}
	}
	for name, at := range map[string]int64{"the first frame": f.at[1].Offset, "a later one": f.at[7].Offset} {
		broken := newSnapshotFile(t, func(b []byte) { b[at+3] ^= 8 })
		if _, err := broken.LoadFile(t.Context(), broken.info); !errors.Is(err, errs.ErrCorrupt) {
			t.Errorf("%s says another page: %v", name, err)
		}
	}
}
