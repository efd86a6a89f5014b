package hydrate

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"
)

// A process borrows the file of another one and reads nothing from storage. Once the
// owner has ended, it goes on as the owner with the pages that are still right.
func TestShare_TakesOver(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		owner := b.start(Options{Path: path})
		synctest.Wait()
		b.want(owner, Complete, 100, 100)

		n := b.another()
		h := n.start(Options{Path: path})
		synctest.Wait()
		p := h.Progress()
		if n.want(h, Complete, 100, 0); p.Owner != os.Getpid() || h.local() != nil {
			t.Errorf("%+v", p)
		}
		n.apply(2, 100, bedPageSize, 1) // which the owner does not see
		h.Tier.Notify()
		synctest.Wait()
		if p := h.Progress(); p.Status != CatchingUp || h.Tier.Has(n.key(1)) || !h.Tier.Has(n.key(2)) {
			t.Errorf("%+v, has the new page: %v", p, h.Tier.Has(n.key(1)))
		}

		b.close()
		time.Sleep(2 * lookEvery)
		n.want(h, Complete, 100, 100)
		if p := h.Progress(); p.Owner != 0 || h.local() == nil || n.access.Store.Lists.Load() != 0 || n.reads() != 1 {
			t.Errorf("%d requests, %d listings, %+v\n%s", n.reads(), n.access.Store.Lists.Load(), p, n.log)
		}
	})
}

// A process that takes the file over while the disk is full says so, and goes on once
// there is room.
func TestShare_TakesOverFullDisk(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		b.start(Options{Path: path})
		synctest.Wait()
		n := b.another()
		var full atomic.Bool
		full.Store(true)
		h := n.start(Options{Path: path, OnDisk: func(event string) error {
			if full.Load() && event == "before: sync" {
				return syscall.ENOSPC
			}
			return nil
		}})
		synctest.Wait()
		n.want(h, Complete, 100, 0)
		b.close()
		time.Sleep(time.Minute)
		if p := h.Progress(); p.Status != Failed || !strings.Contains(p.Error, syscall.ENOSPC.Error()) {
			t.Errorf("%+v\n%s", p, n.log)
		}
		full.Store(false)
		time.Sleep(time.Minute)
		n.want(h, Complete, 100, 100)
		if p := h.Progress(); p.File != path || p.Owner != 0 {
			t.Errorf("%+v", p)
		}
	})
}

// An owner is killed, and what it has written is lost when the next one syncs the file.
// None of it is believed, although the table says that it is there.
func TestShare_TakesOverLost(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		l := b.lends(path)
		for pgno := uint32(1); pgno <= 100; pgno++ {
			if _, err := l.write(b.view().Epoch, pgno, []ltx.TXID{1}, b.content[pgno]); err != nil {
				t.Fatal(err)
			}
			l.settleKey(b.key(pgno), true)
		}
		n := b.another()
		syncs := 0
		h := n.start(Options{Path: path, OnDisk: func(event string) error {
			if event != "before: sync" {
				return nil
			}
			if syncs++; syncs > 1 {
				return nil
			}
			overwrite(t, path, 0, make([]byte, 100*bedPageSize))
			return syscall.ENOSPC
		}})
		synctest.Wait()
		if !h.Tier.Has(n.key(1)) {
			t.Fatalf("nothing is borrowed\n%s", n.log)
		}
		if err := errors.Join(l.share.Load().Close(), l.file.Close()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		n.want(h, Complete, 100, 100)
		if syncs < 2 {
			t.Errorf("the file was synced %d times", syncs)
		}
	})
}

// An owner cannot sync the file when it ends, and a page is lost. The next one does not
// go on with it.
func TestShare_TakesOverUnsynced(t *testing.T) {
	path := sharedPath(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t)
		var fails atomic.Bool
		owner := b.start(Options{Path: path, OnDisk: func(event string) error {
			if event != "before: sync" || !fails.Load() {
				return nil
			}
			overwrite(t, path, 4*bedPageSize, bedPage(5, 1, bedPageSize))
			return syscall.EIO
		}})
		synctest.Wait()
		n := b.another()
		h := n.start(Options{Path: path})
		synctest.Wait()
		b.apply(2, 100, bedPageSize, 5)
		n.access.Views.Current.Store(b.view())
		owner.Tier.Notify()
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		n.want(h, Complete, 100, 0)
		fails.Store(true)
		b.close()
		time.Sleep(2 * lookEvery)
		synctest.Wait()
		n.want(h, Complete, 100, 100)
		if p := h.Progress(); p.Owner != 0 || h.local() == nil {
			t.Errorf("%+v\n%s", p, n.log)
		}
	})
}
