package hydrate

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"
)

// heldBy gives a hydrator that does not run a temporary file without pages.
func (b *bed) heldBy(h *Hydrator) *localPages {
	b.t.Helper()
	f, err := pagefile.CreateTemp()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = f.Close() })
	h.file = f
	l := newLocalPages(f, b.view().PageSize, h.opts.OnDisk)
	hold(b.t, l, b.view())
	h.Tier.local.Store(l)
	return l
}

// Copying begins while pages that queries have fetched wait to be written. Once all
// pages were there, it waits for those, because they may be what is missing.
func TestCopyAll_Offers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		h := b.new(Options{})
		l := b.heldBy(h)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			if err := h.copier.copyAll(ctx); err != nil {
				t.Error(err)
			}
		}()
		h.Tier.Offer(b.key(3), b.content[3], false)
		task.Signal(h.copier.work)
		synctest.Wait()
		if n := l.count.Load(); n != 100 {
			t.Errorf("%d pages were copied at first", n)
		}
		b.apply(2, 100, bedPageSize, 3)
		hold(t, l, b.view())
		task.Signal(h.copier.work)
		time.Sleep(time.Hour)
		if n := l.count.Load(); n != 99 {
			t.Errorf("there are %d pages while the last one waits to be written", n)
		}
		h.Tier.offers.take()
		task.Signal(h.copier.work)
		synctest.Wait()
		if n := l.count.Load(); n != 100 {
			t.Errorf("there are %d pages in the end", n)
		}
	})
}

// A hydration that is complete copies the one page of the next transaction at once,
// also right after it has compared checksums.
func TestHydrator_Follows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		var last Progress
		h := b.start(Options{OnProgress: func(p Progress) { last = p }})
		began := time.Now()
		synctest.Wait()
		b.want(h, Complete, 100, 100)
		if last.Status != Complete || last.Pages != 100 || last.Progress != 100 {
			t.Errorf("what was reported last is %+v", last)
		}
		for txid := ltx.TXID(2); txid < 5; txid++ {
			b.apply(txid, 100, bedPageSize, 10*uint32(txid))
			h.Tier.Notify()
			synctest.Wait()
			b.want(h, Complete, 100, 100)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
}

// A batch that needs no request, and the end of the batches, let the next goroutine
// choose.
func TestCopyNext_EndsTurn(t *testing.T) {
	b := newBed(t)
	h := b.new(Options{})
	l := b.heldBy(h)
	for pgno := uint32(1); pgno <= 100; pgno++ {
		if _, err := l.write(0, pgno, []ltx.TXID{1}, b.content[pgno]); err != nil {
			t.Fatal(err)
		}
	}
	f := b.view().Last
	work := newCopyWork([][]part{{{file: f, offset: ltx.HeaderSize, end: f.FramesEnd, first: 1, last: 100, pages: 100, whole: true}}})
	turn := semaphore.NewWeighted(1)
	for _, want := range []bool{true, false} {
		if copied, err := h.copier.copyNext(t.Context(), b.view(), work, turn); copied != want || err != nil {
			t.Errorf("copied %v, %v", copied, err)
		}
		if !turn.TryAcquire(1) {
			t.Fatal("nobody else can choose")
		}
		turn.Release(1)
	}
}

// A part with pages of two files writes those that it wants, with their content, and
// leaves no sum: what it has read is not all of the file.
func TestCopyPart_Wanted(t *testing.T) {
	b := newBed(t)
	f := b.view().Last
	var even []uint32
	for pgno := uint32(2); pgno <= 100; pgno += 2 {
		even = append(even, pgno)
	}
	b.apply(2, 100, bedPageSize, even...)
	h := b.new(Options{})
	l := b.heldBy(h)
	at := func(pgno uint32) view.Loc {
		loc, _ := b.view().Lookup(pgno)
		return loc
	}
	// The part ends before page 21.
	p := part{file: f, offset: at(11).Offset, end: at(19).Offset + int64(at(19).Size), first: 11, last: 31, pages: 5}
	if err := h.copier.copyPart(t.Context(), b.view(), p, nil); err != nil {
		t.Fatal(err)
	}
	for pgno := uint32(1); pgno <= 100; pgno++ {
		want := slices.Contains([]uint32{11, 13, 15, 17, 19}, pgno)
		if page := h.Tier.Read(b.key(pgno)); (page != nil) != want || want && !bytes.Equal(page, b.content[pgno]) {
			t.Errorf("page %d is there: %v", pgno, page != nil)
		}
	}
	if sums := l.sums.of(f); len(sums) != 0 {
		t.Errorf("there are sums: %+v", sums)
	}
	// Of a frame that cannot be decoded, no page comes.
	b.damage(1, at(33).Offset+ltx.PageHeaderSize)
	p = part{file: f, offset: at(33).Offset, end: at(33).Offset + int64(at(33).Size), first: 33, last: 33, pages: 1}
	var bad *fileError
	if err := h.copier.copyPart(t.Context(), b.view(), p, nil); !errors.As(err, &bad) || h.Tier.Has(b.key(33)) {
		t.Errorf("a damaged frame: %v, its page is there: %v", err, h.Tier.Has(b.key(33)))
	}
}

// A run of pages that cannot be written is an error, before the next run begins as well
// as at the end.
func TestRunWriter_Fails(t *testing.T) {
	b := newBed(t)
	h := b.new(Options{OnDisk: func(string) error { return syscall.ENOSPC }})
	w := &runWriter{l: b.heldBy(h), pageSize: bedPageSize, data: make([]byte, 0, runSize)}
	if _, err := w.next(1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.next(3, 1); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the next run: %v", err)
	}
	if _, err := w.next(5, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the end: %v", err)
	}
}

// All pages that are offered are written, and those that came with a file whose
// checksum is right are settled. A page that cannot be written is an error.
func TestHydrator_Adopt(t *testing.T) {
	b := newBed(t)
	full := false
	h := b.new(Options{OnDisk: func(string) error {
		if full {
			return syscall.ENOSPC
		}
		return nil
	}})
	l := b.heldBy(h)
	offer := func(verified bool, pgnos ...uint32) {
		for _, pgno := range pgnos {
			h.Tier.Offer(b.key(pgno), b.content[pgno], verified)
		}
	}
	offer(true, 1, 2)
	offer(false, 3, 4)
	if err := h.adopt(); err != nil || l.count.Load() != 4 || l.compared.Load() != 2 || l.settled.Load() != 2 {
		t.Errorf("%d pages, %d of them compared: %v", l.count.Load(), l.compared.Load(), err)
	}
	full = true
	offer(false, 5)
	if err := h.adopt(); !errors.Is(err, syscall.ENOSPC) || l.count.Load() != 4 {
		t.Errorf("%d pages, %v", l.count.Load(), err)
	}
}

// Another history may have pages of another size. A reader that still has the file of
// before gets none of them.
func TestHydrator_PageSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		h := b.start(Options{})
		synctest.Wait()
		before, page := b.view(), h.local()
		b.apply(2, 50, 2*bedPageSize)
		h.Tier.Notify()
		synctest.Wait()
		b.want(h, Complete, 50, 50)
		if page.view() != nil || page.read(before, 3, make([]byte, bedPageSize)) != errNotHere {
			t.Error("the file of before still serves pages")
		}
	})
	b := newBed(t)
	h := b.new(Options{})
	l := b.heldBy(h)
	b.apply(2, 50, 2*bedPageSize)
	if err := h.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.restart(l, b.view()); err == nil || h.local() != l {
		t.Errorf("a file that cannot be emptied is used again: %v", err)
	}
}

// While the disk is full, hydration is failed and says why. It goes on once there is
// room.
func TestHydrator_DiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		b := emptyBed(t, memory.NewReplicaClient())
		b.apply(1, 3000, bedPageSize) // more than is written at once
		var full atomic.Bool
		full.Store(true)
		h := b.start(Options{Path: path, OnDisk: func(event string) error {
			if full.Load() && event == "before: write pages" {
				return syscall.ENOSPC
			}
			return nil
		}})
		synctest.Wait()
		if p := h.Progress(); p.Status != Failed || p.Error == "" {
			t.Errorf("%+v", p)
		}
		time.Sleep(time.Minute)
		full.Store(false)
		time.Sleep(time.Minute)
		b.want(h, Complete, 3000, 3000)
	})
}

// The same for the record: a checkpoint that fails is tried again after a while, not
// again and again.
func TestHydrator_CheckpointFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		var full atomic.Bool
		var tries atomic.Int32
		h := b.start(Options{Path: path, OnDisk: func(event string) error {
			if full.Load() && event == "before: sync" {
				tries.Add(1)
				return syscall.ENOSPC
			}
			return nil
		}})
		synctest.Wait()
		full.Store(true)
		b.apply(2, 100, bedPageSize, 10)
		h.Tier.Notify()
		time.Sleep(5 * time.Minute)
		if p := h.Progress(); p.Status != Failed || tries.Load() < 5 || tries.Load() > 12 {
			t.Errorf("%d tries in five minutes, %+v", tries.Load(), p)
		}
		if !h.Tier.offers.is(offersPaused) {
			t.Error("queries wait for room for their pages")
		}
		full.Store(false)
		time.Sleep(time.Minute)
		b.want(h, Complete, 100, 100)
		if !h.Tier.offers.is(offersTaken) {
			t.Error("pages of queries are not taken")
		}
	})
}

// Pages are of use for the file until they are there. It does not take those that it
// had to forget.
func TestLocalPages_Wants(t *testing.T) {
	var none *localPages
	l, _, v2 := somePages(t) // page 5 of version 1
	key := func(pgno uint32, version ltx.TXID) pages.Key { return pages.Key{Pgno: pgno, Version: version} }
	if !none.wants(key(1, 1)) {
		t.Error("a file that is yet to be opened")
	}
	if l.wants(key(5, 1)) || !l.wants(key(4, 1)) || !l.wants(key(5, 2)) || l.wants(key(11, 1)) || !l.wants(pages.Key{Epoch: 1, Pgno: 5, Version: 1}) {
		t.Error("the first view")
	}
	hold(t, l, v2)
	if l.wants(key(5, 1)) || !l.wants(key(5, 2)) || l.wants(key(4, 2)) {
		t.Error("the second view")
	}
	l.drop()
	if l.wants(key(4, 1)) {
		t.Error("no view is held")
	}
}

// A hydration that ends while the disk is full does not say that it goes on.
func TestCatchUp_EndsWhilePaused(t *testing.T) {
	for _, ends := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t)
			var full atomic.Bool
			full.Store(true)
			h := b.new(Options{OnDisk: func(string) error {
				if full.Load() {
					return syscall.ENOSPC
				}
				return nil
			}})
			b.heldBy(h)
			// It ends in the moment in which the wait is over, which the wait does not see.
			ctx := &endedContext{Context: t.Context()}
			time.AfterFunc(firstHydrationDelay/2, func() {
				full.Store(false)
				ctx.ended.Store(ends)
			})
			delay := firstHydrationDelay
			if err := h.copier.catchUp(ctx, &delay); err != nil {
				t.Fatal(err)
			}
			status, goesOn := h.Progress().Status, strings.Contains(b.log.String(), "hydration goes on")
			if ends && (status != Failed || goesOn) || !ends && (status != Restoring || !goesOn) {
				t.Errorf("ended %v: it is %s, and says that it goes on: %v", ends, status, goesOn)
			}
		})
	}
}

// endedContext is a context that ends without waking anybody up.
type endedContext struct {
	context.Context
	ended atomic.Bool
}

func (c *endedContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return c.Context.Err()
}

// A page index that is read as it is needed is read before the pages are. If its file
// is gone, one request finds that.
func TestHydrator_UnreadIndex(t *testing.T) {
	for _, gone := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := emptyBed(t, memory.NewReplicaClient())
			b.access.Store.NeverWhole = true
			b.apply(1, 100, bedPageSize)
			b.apply(2, 101, bedPageSize, 10, 101)
			if n := len(b.view().Unread()); n != 1 {
				t.Fatalf("%d page indexes are unread", n)
			}
			if !gone {
				h := b.start(Options{})
				synctest.Wait()
				b.want(h, Complete, 101, 101)
				return
			}
			b.client.read = func(ltx.TXID, int64, int64) error { return fs.ErrNotExist }
			h := b.new(Options{})
			b.heldBy(h)
			if err := h.copier.pass(t.Context()); !errs.IsMissing(err) || b.reads() != 1 {
				t.Errorf("after %d requests, %v", b.reads(), err)
			}
		})
	}
}

// What other goroutines have copied of a part is not read again, if that is most of it.
func TestCopyPart_MostlyThere(t *testing.T) {
	b := newBed(t)
	h := b.new(Options{})
	l := b.heldBy(h)
	for pgno := uint32(1); pgno <= 90; pgno++ {
		if _, err := l.write(0, pgno, []ltx.TXID{1}, b.content[pgno]); err != nil {
			t.Fatal(err)
		}
	}
	read := int64(0)
	b.client.read = func(_ ltx.TXID, _, size int64) error { read += size; return nil }
	f := b.view().Last
	p := part{file: f, offset: ltx.HeaderSize, end: f.FramesEnd, first: 1, last: 100, pages: 100, whole: true}
	if err := h.copier.copyPart(t.Context(), b.view(), p, nil); err != nil || l.count.Load() != 100 {
		t.Errorf("%d pages, %v", l.count.Load(), err)
	}
	if pages := read / bedPageSize; pages < 10 || pages > 11 {
		t.Errorf("%d bytes were read for ten pages", read)
	}
	for pgno := uint32(91); pgno <= 100; pgno++ {
		if !bytes.Equal(h.Tier.Read(b.key(pgno)), b.content[pgno]) {
			t.Errorf("page %d has another content", pgno)
		}
	}
}

// A copy that waited for storage says that it goes on.
func TestHydrator_GoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.client.read = func(ltx.TXID, int64, int64) error {
			if b.reads() <= 2 {
				return errors.New("down")
			}
			return nil
		}
		h := b.start(Options{})
		synctest.Wait()
		if p := h.Progress(); p.Status != Restoring || !strings.Contains(p.Error, "down") {
			t.Errorf("%+v", p)
		}
		time.Sleep(time.Minute)
		b.want(h, Complete, 100, 100)
		if p, n := h.Progress(), strings.Count(b.log.String(), "hydration goes on"); p.Error != "" || n != 1 {
			t.Errorf("it has said %d times that it goes on, %+v", n, p)
		}
	})
}
