package compact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
	"github.com/ltxvfs/litestream/memory"
)

// Retention deletes files of level 0 that are old and in files of level 1, also a
// single one, and never the newest file.
func TestCompaction_Retention(t *testing.T) {
	for _, tc := range []struct{ files, want string }{
		{"0/1-1 0/2-2 1/1-2", "0/2-2 1/1-2"},
		{"0/1-1 0/2-2 0/3-3 1/1-2", "0/3-3 1/1-2"},
		{"0/1-1 0/2-2 0/3-3 1/1-1", "0/2-2 0/3-3 1/1-1"},
		{"0/1-1 0/2-2 0/3-3 1/2-2", "0/1-1 0/3-3 1/2-2"}, // level 1 has a gap
		{"0/1-1 0/2-2 0/3-3 1/2-3", "0/1-1 0/3-3 1/2-3"},
		{"0/1-1 1/1-1", "0/1-1 1/1-1"},
		{"0/1-1 0/2-2", "0/1-1 0/2-2"},
	} {
		inBed(t, 3, tc.files, func(b *bed) {
			if again, err := b.pruneLevel0(time.Now()); err != nil || tc.files != tc.want && time.Until(again) != time.Minute {
				b.t.Errorf("%s: again at %v, %v", tc.files, again, err)
			}
			b.want(tc.files)
			time.Sleep(time.Minute)
			if again, err := b.pruneLevel0(time.Now()); err != nil || !again.IsZero() {
				b.t.Errorf("%s: again at %v, %v", tc.files, again, err)
			}
			b.want(tc.want)
		})
	}
}

// A store whose clock is a month behind dates files before the transactions in them. It
// keeps them for as long as others do, and nothing is due earlier.
func TestCompaction_StoreClockBehind(t *testing.T) {
	const behind, levels = 30 * 24 * time.Hour, "0/1-1 0/2-2 0/3-3 1/1-2 1/3-3 9/1-1 9/1-2"
	inBed(t, 3, levels, func(b *bed) {
		view := *b.Views.Current.Load()
		view.Timestamp = time.Now().Add(behind).UnixMilli()
		b.Views.Current.Store(&view)
		b.Opts.Now = func() time.Time { return time.Now().Add(behind) }

		start := b.Opts.Now()
		if err := b.begin(); err != nil {
			t.Fatal(err)
		}
		if got := b.due.snapshot.Sub(start); got != 24*time.Hour {
			t.Errorf("a snapshot is due after %s, want 24h", got)
		}
		files, err := b.Store.ListAll(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(b.oldFiles(files, 2)); got != "" {
			t.Errorf("it deletes %s", got)
		}
		again, err := b.pruneLevel0(start)
		if err != nil || again.Sub(start) != time.Minute {
			t.Errorf("level 0: again after %s, %v, want 1m", again.Sub(start), err)
		}
		b.want(levels)

		time.Sleep(48*time.Hour + time.Second)
		if got := names(b.oldFiles(files, 2)); got != "9/1-1" {
			t.Errorf("after 48 hours it deletes %s, want 9/1-1", got)
		}
		if _, err := b.pruneLevel0(b.Opts.Now()); err != nil {
			t.Error(err)
		}
		b.want("0/3-3 1/1-2 1/3-3 9/1-1 9/1-2")
	})
}

// The clock of the writer was a month ahead for a while, and the times of transactions
// do not go back. Retention goes by the clock of the store as always.
func TestCompaction_TransactionsAhead(t *testing.T) {
	inBed(t, 3, "0/1-1 0/2-2 0/3-3 1/1-3", func(b *bed) {
		view := *b.Views.Current.Load()
		view.Timestamp = time.Now().Add(30 * 24 * time.Hour).UnixMilli()
		b.Views.Current.Store(&view)
		time.Sleep(time.Minute)
		if again, err := b.pruneLevel0(b.Opts.Now()); err != nil || !again.IsZero() {
			t.Errorf("again at %s, %v", again, err)
		}
		b.want("0/3-3 1/1-3")
	})
}

// TestCompaction_OldFiles says which files SnapshotRetention does not keep, each once.
func TestCompaction_OldFiles(t *testing.T) {
	for _, tc := range []struct{ old, young, want string }{
		{"9/1-1 9/1-5", "9/1-9", "9/1-1"}, // states before 9 follow from 5
		{"9/1-1 9/1-9", "", "9/1-1"},      // the newest one stays, however old
		{"9/1-1", "9/1-5 9/1-9", ""},
		{"1/2-3 1/4-5 1/6-9 9/1-1 9/1-9", "", "9/1-1"},                        // level 2 has none of them
		{"1/2-3 1/4-5 1/6-9 2/2-5 9/1-1 9/1-9", "", "1/2-3 1/4-5 9/1-1"},      // and now it has two
		{"1/2-3 1/4-5 1/6-9 2/2-5 9/1-1", "9/1-4 9/1-9", ""},                  // states before 4 follow from 1
		{"1/2-3 1/4-5 1/6-9 2/2-5 9/1-1 9/1-4", "9/1-9", "1/2-3 9/1-1"},       // the snapshot before needs the rest
		{"1/2-3 1/4-5 1/6-9 2/2-5 2/6-9 9/1-9", "", "1/2-3 1/4-5 2/2-5"},      // the newest of each level stays
		{"0/2-2 0/3-3 1/2-3 1/4-9 2/2-9 9/1-9", "", "1/2-3"},                  // level 0 has a retention of its own
		{"", "1/2-3 1/4-5 1/6-9 2/2-5 2/6-9 9/1-1 9/1-9", ""},                 // all are young
		{"1/2-3 1/4-5 2/2-5 9/1-1", "1/6-9 2/6-9 9/1-9", ""},                  // the young ones need the old ones
		{"1/2-3 1/4-5 2/2-5 9/1-1 9/1-5", "1/6-9 2/6-9 9/1-9", "1/2-3 9/1-1"}, // files that end at the base stay with it
	} {
		inBed(t, 9, tc.old, func(b *bed) {
			time.Sleep(48*time.Hour + time.Second)
			b.add(tc.young, 0)
			files, err := b.Store.ListAll(b.t.Context(), false)
			if err != nil {
				b.t.Fatal(err)
			}
			if got := names(b.oldFiles(files, 9)); got != tc.want {
				b.t.Errorf("of %s and %s it deletes %s, want %s", tc.old, tc.young, got, tc.want)
			}
		})
	}
}

// Every state of the time that SnapshotRetention says can be read, also right after a
// snapshot: the one before it stays, with the files in between.
func TestCompaction_KeepsTheRetention(t *testing.T) {
	inBed(t, 1, "9/1-1", func(b *bed) {
		for txid := ltx.TXID(2); txid <= 13; txid++ {
			time.Sleep(12 * time.Hour)
			b.add(fmt.Sprintf("2/%d-%d", txid, txid), 0)
			b.Views.Current.Store(&view.View{TXID: txid})
			if txid%4 != 1 {
				continue
			}
			time.Sleep(time.Second)
			before, err := b.Store.ListAll(b.t.Context(), false)
			if err != nil {
				b.t.Fatal(err)
			}
			if made, err := b.snapshot(true); !made || err != nil {
				b.t.Fatalf("a snapshot of %s: made %v, %v", txid, made, err)
			}
			left, err := b.Store.ListAll(b.t.Context(), false)
			if err != nil {
				b.t.Fatal(err)
			}
			for _, f := range before {
				if time.Since(f.CreatedAt) > b.Opts.SnapshotRetention {
					continue
				}
				if _, end := view.Extend(0, f.MaxTXID, left); end != f.MaxTXID {
					b.t.Errorf("%s is of %s ago, and %s end at %s", view.KeyOf(f), time.Since(f.CreatedAt), names(left), end)
				}
			}
		}
		b.want("2/10-10 2/11-11 2/12-12 2/13-13 2/9-9 9/1-13 9/1-9")
	})
}

// A process whose view is out of date, because it was suspended or cut off from the
// store, deletes neither the snapshots of the writer that took over nor what comes
// before them, and the files still give the newest state.
func TestCompaction_OutdatedView(t *testing.T) {
	for _, tc := range []struct{ files, want string }{
		{"2/1-10 9/1-50 0/51-60", "0/51-60 2/1-10 9/1-10 9/1-50"},
		{"9/1-10 9/1-50 0/51-60", "0/51-60 9/1-10 9/1-50"},
		{"9/1-5 9/1-10 9/1-20 9/1-50 0/51-60", "0/51-60 9/1-20 9/1-50"},
		{"9/1-20 9/1-30 2/1-40 0/41-60", "0/41-60 2/1-40 9/1-20 9/1-30"},
		{"9/1-20 9/1-30 0/31-60", "0/31-60 9/1-20 9/1-30"},
	} {
		inBed(t, 20, tc.files, func(b *bed) {
			time.Sleep(48*time.Hour + time.Second)
			if _, err := b.snapshot(true); err != nil {
				b.t.Errorf("%s: %v", tc.files, err)
			}
			b.want(tc.want)
			files, err := b.Store.ListAll(b.t.Context(), false)
			if plan, err2 := view.PlanLatest(0, files); err != nil || err2 != nil || plan[len(plan)-1].MaxTXID != 60 {
				b.t.Errorf("%s: the files give %s, %v, %v", tc.files, names(plan), err, err2)
			}
		})
	}
}

// TestCompaction_Begin says what is due two hours after files that earlier processes
// have left, some of them an hour later.
func TestCompaction_Begin(t *testing.T) {
	const retention = 2*time.Hour + time.Minute
	for _, tc := range []struct {
		files, later                        string
		level1, level2, retention, snapshot time.Duration // after the first files; 0: never
	}{
		{},
		{files: "0/1-1", level1: time.Minute, snapshot: 24 * time.Hour},
		{files: "0/1-1", later: "0/2-2", level1: time.Minute, snapshot: 24 * time.Hour},
		{files: "0/1-1", later: "1/1-1", level2: time.Hour, retention: retention, snapshot: 24 * time.Hour},
		{files: "0/1-1", later: "1/1-1 0/2-2", level1: 61 * time.Minute, level2: time.Hour, retention: retention, snapshot: 24 * time.Hour},
		{files: "0/1-1 1/1-1 0/2-2", later: "1/2-2 2/1-1", level2: 2 * time.Hour, retention: retention, snapshot: 24 * time.Hour},
		{files: "0/1-2 1/1-2", later: "2/1-2 9/1-2", retention: retention, snapshot: 25 * time.Hour},
		{files: "9/1-1", later: "0/2-2 9/1-2", level1: time.Minute, snapshot: 25 * time.Hour},
	} {
		inBed(t, 2, "", func(b *bed) {
			start := time.Now()
			b.add(tc.files, 0)
			time.Sleep(time.Hour)
			b.add(tc.later, 0)
			time.Sleep(time.Hour)
			if err := b.begin(); err != nil {
				b.t.Fatal(err)
			}
			since := func(at time.Time) time.Duration {
				if at.IsZero() {
					return 0
				}
				return at.Sub(start)
			}
			got := []time.Duration{since(b.due.levels[1]), since(b.due.levels[2]), since(b.due.retention), since(b.due.snapshot)}
			if want := []time.Duration{tc.level1, tc.level2, tc.retention, tc.snapshot}; !slices.Equal(got, want) || !b.due.growth.IsZero() {
				b.t.Errorf("%s and later %s: due after %v, want %v", tc.files, tc.later, got, want)
			}
		})
	}
}

// A snapshot that is outgrown is replaced when a listing of all levels shows it:
// at the beginning, later, and in one that the writer makes.
func TestCompaction_NoticesGrowth(t *testing.T) {
	for _, size := range []int{1 << 19, 1<<20 + 1<<14} {
		isLarge := size > 1<<20
		inBed(t, 2, "9/1-1", func(b *bed) {
			b.add("0/2-2", size)
			if err := b.begin(); err != nil || b.due.growth.IsZero() == isLarge {
				b.t.Errorf("with %d bytes, at the beginning: %v, %v", size, b.due.growth, err)
			}
			b.due.growth = time.Time{}
			if err := b.checkGrowth(); err != nil || !b.due.growth.IsZero() || b.notes.saw != nil {
				b.t.Errorf("it lists all levels although that is not due: %v, %v", b.notes.saw, err)
			}
			b.notes.look = true
			if err := b.checkGrowth(); err != nil || b.due.growth.IsZero() == isLarge {
				b.t.Errorf("with %d bytes, later: %v, %v", size, b.due.growth, err)
			}
			if got := strings.Join(b.notes.saw, ", "); got != "2: 0/2-2 9/1-1" {
				b.t.Errorf("the writer sees %q", got)
			}
			b.due.growth = time.Time{}
			b.notes.outgrown = isLarge
			if b.news(); b.due.growth.IsZero() == isLarge {
				b.t.Errorf("the writer sees it: %v, %v", isLarge, b.due.growth)
			}
		})
	}
}

// The end of a level is found where it was last, and anywhere if it is gone there.
func TestCompaction_End(t *testing.T) {
	inBed(t, 9, "1/1-2 1/3-4", func(b *bed) {
		end := func(want ltx.TXID, requests int64) {
			b.t.Helper()
			before := b.Store.Lists.Load()
			last, err := b.end(b.t.Context(), 1)
			if n := b.Store.Lists.Load() - before; err != nil || last != want || n != requests {
				b.t.Errorf("it is %s after %d listings, %v, want %s after %d", last, n, err, want, requests)
			}
		}
		end(4, 1)
		b.add("1/5-6", 0)
		end(6, 1)
		if err := b.Store.Delete(b.t.Context(), view.Key{Level: 1, MinTXID: 5, MaxTXID: 6}); err != nil {
			b.t.Fatal(err)
		}
		end(4, 2)
		if err := b.Store.Delete(b.t.Context(), view.Key{Level: 1, MinTXID: 3, MaxTXID: 4}, view.Key{Level: 1, MinTXID: 1, MaxTXID: 2}); err != nil {
			b.t.Fatal(err)
		}
		end(0, 2)
		end(0, 1)
	})
}

// Files without those before them give no snapshot.
func TestCompaction_SnapshotOfNothing(t *testing.T) {
	inBed(t, 9, "0/5-9", func(b *bed) {
		if made, err := b.snapshot(true); made || err != nil {
			b.t.Errorf("a snapshot of files without a beginning: %v, %v", made, err)
		}
		b.want("0/5-9")
	})
}

// noRoom is a client of a store that takes no files.
type noRoom struct{ *memory.ReplicaClient }

func (noRoom) CreateLTXFile(context.Context, int, ltx.TXID, ltx.TXID, io.Reader) (*ltx.FileInfo, error) {
	return nil, syscall.ENOSPC
}

// A merge that fails has made nothing, so nothing else becomes due.
func TestCompaction_MergeFails(t *testing.T) {
	inBed(t, 2, "0/1-1 0/2-2", func(b *bed) {
		b.Store.Client = noRoom{b.client}
		if made, more, err := b.compact(1); made || more || !errors.Is(err, syscall.ENOSPC) {
			b.t.Errorf("made %v, more %v, %v", made, more, err)
		}
		b.want("0/1-1 0/2-2")
	})
}

// damaging is a client of a store that changes a byte of each file, counted from its
// end, and confirms the upload.
type damaging struct {
	*memory.ReplicaClient
	at int
}

func (c damaging) CreateLTXFile(ctx context.Context, level int, first, last ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	body[len(body)-c.at] ^= 0xff
	return c.ReplicaClient.CreateLTXFile(ctx, level, first, last, bytes.NewReader(body))
}

// A file that was damaged on its way to the store does not stand for its inputs, also if
// its end is as it should be.
func TestCompaction_MergedFileDamaged(t *testing.T) {
	const trailer, indexSize = ltx.TrailerSize, 8
	for name, at := range map[string]int{"trailer": trailer, "size of the page index": trailer + 1, "page index": trailer + indexSize + 2} {
		inBed(t, 3, "0/1-1 0/2-2 0/3-3", func(b *bed) {
			b.Store.Client = damaging{b.client, at}
			if made, _, err := b.compact(1); !made || !errors.Is(err, errs.ErrCorrupt) {
				b.t.Errorf("%s: made %v, %v", name, made, err)
			}
			time.Sleep(time.Minute)
			for range 2 {
				if _, err := b.pruneLevel0(time.Now()); !errors.Is(err, errs.ErrCorrupt) {
					b.t.Errorf("%s: level 0 is deleted: %v", name, err)
				}
			}
			b.want("0/1-1 0/2-2 0/3-3 1/1-3")
		})
	}
}

// A database that is closed while compaction begins is no reason to warn of anything.
func TestCompaction_ClosedAtTheBeginning(t *testing.T) {
	inBed(t, 2, "0/1-1 0/2-2", func(b *bed) {
		var log bytes.Buffer
		b.Log = slog.New(slog.NewTextHandler(&log, nil))
		b.Enabled = func() bool { return true }
		b.Tasks.Close(errs.ErrClosed)
		New(b.Deps).run()
		if log.Len() > 0 {
			b.t.Error(log.String())
		}
	})
}

// What connections read is not deleted, however old: the files of a pinned view, of
// the view that a local one rests on, and of the newest view. It is deleted once no
// connection reads it, although later files are gone already.
func TestCompaction_Needed(t *testing.T) {
	inBed(t, 4, "0/1-1 0/2-2 0/3-3 0/4-4 1/1-2 1/3-4", func(b *bed) {
		made := time.Now().UnixMilli()
		time.Sleep(time.Hour)
		reading := func(txid ltx.TXID) *view.View { // all pages are in the file of txid
			v := new(view.View)
			for id := ltx.TXID(1); id <= txid; id++ {
				f, index := viewtest.File(b.t, id, id, 4096, 3, viewtest.AllPages(4096, 3))
				f.Timestamp = made
				v = viewtest.Advance(b.t, v, f, index)
			}
			return v
		}
		pinned := []*view.View{reading(1)}
		b.Pinned = func() []*view.View { return pinned }
		prune := func(want string) {
			b.t.Helper()
			if _, err := b.pruneLevel0(time.Now()); err != nil {
				b.t.Fatal(err)
			}
			b.want(want)
		}
		b.Views.Current.Store(&view.View{TXID: 4, Base: reading(2)})
		prune("0/1-1 0/2-2 0/4-4 1/1-2 1/3-4")
		b.Views.Current.Store(&view.View{TXID: 4})
		prune("0/1-1 0/4-4 1/1-2 1/3-4")
		pinned = nil
		prune("0/4-4 1/1-2 1/3-4")
	})
}
