package remote

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// inWhole has a snapshot whose page index is small for its store, where a request takes
// 100 ms.
func inWhole(t *testing.T, change func(b []byte), do func(t *testing.T, f *snapshotFile, v *view.View)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newSnapshotFile(t, change)
		f.Tasks, f.Limit = task.NewGroup(), NewLimiter(64)
		f.delay = 100 * time.Millisecond
		do(t, f, f.load(t))
		f.Tasks.Close(errs.ErrClosed)
		f.Tasks.Wait()
		if n := len(f.whole.mu.all); n != 0 {
			t.Errorf("%d reads of an index are left over", n)
		}
	})
}

// trips finds a page, and returns after how many round trips.
func (f *snapshotFile) trips(t *testing.T, v *view.View, pgno uint32) time.Duration {
	t.Helper()
	start := time.Now()
	f.check(t, v, pgno)
	return time.Since(start) / f.delay
}

// TestBeginIndex reads all of a small page index with the first page. Pages that are
// looked for meanwhile wait for it and make no request, and those that are looked for
// later do not wait.
func TestBeginIndex(t *testing.T) {
	inWhole(t, nil, func(t *testing.T, f *snapshotFile, v *view.View) {
		d := v.Last.Dense
		before, bytes := f.reads.Load(), f.bytes.Load()
		for range 2 {
			if !f.BeginIndex(v.Last) {
				t.Fatal("the index is not read")
			}
		}
		if n := f.trips(t, v, 30_000); n != 1 {
			t.Errorf("a page takes %d round trips", n)
		}
		synctest.Wait()
		if !d.IsComplete() {
			t.Fatal("the index is not complete")
		}
		if n := f.trips(t, v, 20_000); n != 0 {
			t.Errorf("a later page takes %d round trips", n)
		}
		parts := (d.End - d.Start + wholePart - 1) / wholePart
		if n := f.reads.Load() - before; n != parts {
			t.Errorf("%d requests, want %d", n, parts)
		}
		if n := f.bytes.Load() - bytes; n > (d.End-d.Start)*101/100 {
			t.Errorf("%d bytes for an index of %d", n, d.End-d.Start)
		}
		if !f.BeginIndex(v.Last) || f.reads.Load()-before != parts {
			t.Error("a complete index is read again")
		}
	})
}

// TestBeginIndex_Not reads no index that is large for its store, whose memory is
// bounded, or that cannot be read.
func TestBeginIndex_Not(t *testing.T) {
	for name, change := range map[string]func(f *snapshotFile){
		"too large":           func(f *snapshotFile) { f.MaxWhole = 1000 },
		"none":                func(f *snapshotFile) { f.MaxWhole = -1 },
		"nothing runs":        func(f *snapshotFile) { f.Tasks = nil },
		"the store is slow":   func(f *snapshotFile) { f.Speed.mu.bodies[0], f.Speed.mu.m = bodyTime{1000, time.Second}, 1 },
		"the memory is bound": func(f *snapshotFile) { f.Indexes = view.NewBudget(64 << 10) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newSnapshotFile(t, nil)
				f.Tasks = task.NewGroup()
				f.delay = time.Second
				tasks := f.Tasks
				change(f)
				v := f.load(t)
				if name == "the store is slow" {
					change(f)
				}
				if before := f.reads.Load(); f.BeginIndex(v.Last) || f.reads.Load() != before {
					t.Error("the index is read")
				}
				tasks.Close(errs.ErrClosed)
				tasks.Wait()
			})
		})
	}
}

// TestBeginIndex_Corrupt changes a byte of the index. Pages whose part of it is intact
// are found, and the index is not read as a whole again.
func TestBeginIndex_Corrupt(t *testing.T) {
	intact := newSnapshotFile(t, nil).load(t).Last.Dense
	inWhole(t, func(b []byte) { b[(intact.Start+intact.End)/2] ^= 0x11 }, func(t *testing.T, f *snapshotFile, v *view.View) {
		f.BeginIndex(v.Last)
		f.check(t, v, 2_000)
		loc, _ := v.Lookup(snapshotPages / 2)
		if _, err := f.Locate(t.Context(), snapshotPages/2, loc); err != nil && !errors.Is(err, errs.ErrCorrupt) {
			t.Errorf("a page in the middle: %v", err)
		}
		synctest.Wait()
		if before := f.reads.Load(); f.BeginIndex(v.Last) || f.reads.Load() != before {
			t.Error("the index is read again")
		}
	})
}

// TestBeginIndex_Stuck looks for a page while the requests for the index do not end.
func TestBeginIndex_Stuck(t *testing.T) {
	inWhole(t, nil, func(t *testing.T, f *snapshotFile, v *view.View) {
		f.delay = time.Hour
		f.BeginIndex(v.Last)
		synctest.Wait()
		f.delay = 10 * time.Millisecond
		start := time.Now()
		f.check(t, v, 30_000)
		if d := time.Since(start); d != wholePatience+f.delay {
			t.Errorf("a page takes %v", d)
		}
		start = time.Now()
		f.check(t, v, 20_000)
		if d := time.Since(start); d != f.delay {
			t.Errorf("a later page takes %v", d)
		}
		time.Sleep(wholeLimit)
		if f.IsIndexComing(v.Last) {
			t.Error("the read does not end")
		}
	})
}

// A page index is small if it comes within four round trips.
func TestBeginIndex_Small(t *testing.T) {
	inWhole(t, nil, func(t *testing.T, f *snapshotFile, v *view.View) {
		d := v.Last.Dense
		size := d.End - d.Start
		f.Speed.mu.latencies[0], f.Speed.mu.n = time.Second, 1
		for free, want := range map[int64]bool{size / 5: false, size/4 - 1: false, (size + 3) / 4: true, size: true} {
			f.Speed.mu.bodies[0], f.Speed.mu.m = bodyTime{free, time.Second}, 1
			if got := f.isSmall(d); got != want {
				t.Errorf("%d bytes are small where %d come in the time of a round trip: %v", size, free, got)
			}
		}
	})
}

// No page waits for an index that nobody reads any more.
func TestBeginIndex_Closed(t *testing.T) {
	inWhole(t, nil, func(t *testing.T, f *snapshotFile, v *view.View) {
		f.Tasks.Close(errs.ErrClosed)
		if f.BeginIndex(v.Last) || f.IsIndexComing(v.Last) {
			t.Error("the index is coming")
		}
		f.check(t, v, 30_000)
	})
}
