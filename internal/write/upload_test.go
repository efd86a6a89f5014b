package write

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// A sync uploads what was committed, and asks for as little as it can: a listing of
// level 0 shows that nobody else has written.
func TestUpload_Requests(t *testing.T) {
	inBed(t, func(b *bed) {
		requests := func(when, want string) {
			b.t.Helper()
			if got := b.client.take(); got != want {
				b.t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		b.commit(1, 2)
		b.commitTo(9, 3)
		b.sync()
		requests("the first sync", "create 0/1-1, list")
		b.commitTo(5, 2, 5)
		b.sync()
		requests("the next one", "create 0/2-2, list 0/1")
		time.Sleep(surely)
		b.commitTo(20, 2)
		b.sync()
		requests("later", "list, create 0/3-3, list")
		b.want("0/1-1 0/2-2 0/3-3")
		b.wantPages()
		if got := b.local(); got != "" {
			b.t.Errorf("the write buffer is not empty: %s", got)
		}
		if s := b.Status(); s.Counts.Commits != 4 || s.Counts.Syncs != 3 || s.Counts.Failures != 0 || s.Unsynced != 0 {
			b.t.Errorf("%+v", s)
		}
	})
}

// The state that a database was opened with can be a snapshot. It is not on level 0,
// which alone shows that nobody else has written nevertheless.
func TestUpload_AfterSnapshot(t *testing.T) {
	inBed(t, func(b *bed) {
		b.put("9/1-1", 1000, 2, 1, 2)
		b.stop()
		b.start()
		b.OpenedWith(time.Now(), b.files(), b.files())
		if err := b.Enable(b.t.Context(), false); err != nil {
			b.t.Fatal(err)
		}
		b.client.take()
		b.commit(2)
		b.sync()
		if got := b.client.take(); got != "read 9/1-1, create 0/2-2, list 0/2" {
			b.t.Error(got)
		}
	})
}

// Each look at the replica counts for some time: the next sync does not look again.
func TestUpload_LooksCount(t *testing.T) {
	inBed(t, func(b *bed) { // a store that lists level by level
		b.client.refuse(func(request string) error {
			if request == "list" {
				return errors.ErrUnsupported
			}
			return nil
		})
		b.commit(1)
		b.sync()
		time.Sleep(surely)
		b.client.take()
		b.commit(2)
		b.sync()
		// The look before the upload is one at all levels, and that after it at one.
		if got := b.client.take(); strings.Count(got, "list ") != view.Levels+1 || !strings.HasSuffix(got, ", create 0/2-2, list 0/1") {
			b.t.Errorf("it looks before the upload and after it: %s", got)
		}
	})
	inBed(t, func(b *bed) {
		b.commit(1)
		b.sync()
		time.Sleep(surely)
		b.Suspect()
		synctest.Wait()
		b.sync()
		b.client.take()
		b.commit(2)
		b.sync()
		if got := b.client.take(); got != "create 0/2-2, list 0/1" {
			b.t.Errorf("after a look for missing files: %s", got)
		}
	})
}

// A commit that fills the write buffer is synced at once, and so is every commit with
// SyncOnCommit.
func TestUpload_Kick(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commitTo(99, manyPages(99)...)
		synctest.Wait()
		b.want("")
		b.commit(1)
		synctest.Wait()
		b.want("0/1-1")
		b.commit(1)
		time.Sleep(b.Opts.SyncInterval - time.Nanosecond)
		b.want("0/1-1")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		b.want("0/1-1 0/2-2")
		b.Opts.SyncOnCommit = true
		b.commit(1)
		synctest.Wait()
		b.want("0/1-1 0/2-2 0/3-3")
		b.wantPages()
	})
}

func manyPages(n uint32) (pgnos []uint32) {
	for pgno := uint32(1); pgno <= n; pgno++ {
		pgnos = append(pgnos, pgno)
	}
	return pgnos
}

// The first commit of a database tells the tiers its page size. Half of the cache
// takes what is uploaded, and the local file all of it.
func TestUpload_Tiers(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commitTo(15, manyPages(15)...)
		if !slices.Equal(b.tiers.resets, []uint32{testPageSize}) {
			b.t.Errorf("after the first commit: %d", b.tiers.resets)
		}
		b.commit(1)
		b.sync()
		b.commit(2)
		if !slices.Equal(b.tiers.resets, []uint32{testPageSize}) {
			b.t.Errorf("after others: %d", b.tiers.resets)
		}
		if len(b.tiers.kept) != 10 || len(b.tiers.offered) != 0 {
			b.t.Errorf("%d pages are in the cache, and %d in a local file that is not there", len(b.tiers.kept), len(b.tiers.offered))
		}
		for key, page := range b.tiers.kept {
			if want := bedPage(key.Pgno, b.fills[key.Pgno]); key.Version != 1 || !bytes.Equal(page, want) && key.Pgno != 2 {
				b.t.Errorf("it keeps %+v as %x", key, page[:4])
			}
		}
		b.tiers.takes = true
		b.commitTo(15, manyPages(15)...)
		b.sync()
		if len(b.tiers.offered) != 15 {
			b.t.Errorf("the local file gets %d pages", len(b.tiers.offered))
		}
	})
}

// Syncs that fail are tried again, later each time and every half minute at last. A
// goroutine that waits has one tried within a second. The log says once that they fail.
func TestUpload_Delays(t *testing.T) {
	inBed(t, func(b *bed) {
		b.client.refuse(func(string) error { return fs.ErrPermission })
		b.commit(1)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		at := b.client.times()
		if len(at) < 20 || len(at) > 60 {
			b.t.Errorf("%d attempts in 10 minutes", len(at))
		}
		for i := 1; i < len(at); i++ {
			least := min(firstSyncDelay<<(i-1), lastSyncDelay) / 2
			if d := at[i].Sub(at[i-1]); d < least || d > 3*least {
				b.t.Errorf("attempt %d comes after %s", i, d)
			}
		}
		for b.client.take(); len(b.client.times()) == 0; {
			time.Sleep(impatientDelay / 10)
			synctest.Wait()
		}
		waited := make(chan error, 1)
		go func() { waited <- b.Sync(b.t.Context()) }()
		time.Sleep(impatientDelay)
		synctest.Wait()
		if at := b.client.times(); len(at) != 2 || at[1].Sub(at[0]) != impatientDelay {
			b.t.Errorf("attempts at %v while a goroutine waits", at)
		}
		b.client.refuse(nil)
		time.Sleep(time.Minute)
		if err := <-waited; err != nil {
			b.t.Error(err)
		}
		synctest.Wait()
		b.want("0/1-1")
		log := b.log.String()
		if strings.Count(log, "sync failed") != 1 || strings.Count(log, "sync works again") != 1 {
			b.t.Error(log)
		}
	})
}

// What a sync cannot check is not synced.
func TestUpload_NotVerified(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1)
		b.sync()
		b.client.refuse(func(request string) error {
			if request == "list 0/1" {
				return fs.ErrPermission
			}
			return nil
		})
		number := b.commit(2)
		synced := make(chan error, 1)
		go func() { synced <- b.Await(b.t.Context(), number) }()
		synctest.Wait()
		if s := b.Status(); len(synced) > 0 || s.Unsynced == 0 || s.Counts.Failures == 0 || !errors.Is(s.Problem, fs.ErrPermission) {
			b.t.Errorf("%+v", s)
		}
		b.client.refuse(nil)
		if err := <-synced; err != nil {
			b.t.Error(err)
		}
		b.want("0/1-1 0/2-2")
		b.wantPages()
	})
}

// A file of the next name that is no upload of this process ends write mode, however
// large it is. That is no sync that is tried again.
func TestUpload_NameIsTaken(t *testing.T) {
	for _, pgnos := range [][]uint32{{1}, {2}, {1, 2}} {
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			b.sync()
			b.client.take()
			b.commit(2)
			b.put("0/2-2", time.Now().UnixMilli(), 2, pgnos...)
			if err := b.trySync(); !errors.Is(err, errs.ErrConflict) || !strings.Contains(err.Error(), "commits are kept in ") {
				b.t.Errorf("sync: %v", err)
			}
			got, want := b.client.take(), "create 0/2-2, list 0/2"
			if len(pgnos) == 1 && pgnos[0] == 2 {
				want += ", read 0/2-2" // it has the size of the own file
			}
			if got != want {
				b.t.Errorf("with pages %d: %s, want %s", pgnos, got, want)
			}
			synctest.Wait()
			if strings.Contains(b.log.String(), "sync failed") {
				b.t.Error(b.log)
			}
			if b.IsEnabled() || b.Views.Newest().TXID != 2 {
				b.t.Error("it does not follow the other writer")
			}
		})
	}
}

// Commits that follow those that are uploaded stay visible, on the state that the
// replica has then. The next sync does not wait.
func TestPublish_Later(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		committed := false
		b.client.refuse(func(request string) error {
			if request == "create 0/1-1" && !committed {
				committed = true
				b.commit(2)
			}
			return nil
		})
		first := b.Writer.queue.mu.segments[0]
		b.kickOnce()
		b.want("0/1-1")
		v := b.Views.Newest()
		if v.Base != b.Views.Current.Load() || v.Base.TXID != 1 {
			b.t.Error("the newest state is not based on that of the replica")
		}
		v.EachSource(func(s view.Source, _ int) {
			if s.File == first.file {
				b.t.Error("it reads pages of the replica from the write buffer")
			}
		})
		start := time.Now()
		b.sync()
		if d := time.Since(start); d > 0 {
			b.t.Errorf("the next sync takes %s", d)
		}
		b.want("0/1-1 0/2-2")
		b.wantPages()
	})
}

// kickOnce has what is committed synced now.
func (b *bed) kickOnce() {
	task.Signal(b.kick)
	synctest.Wait()
}

// A segment stays open as long as a connection reads pages in it, and not longer.
func TestRetire(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		pinned := []*view.View{b.Views.Newest()}
		b.Pinned = func() []*view.View { return pinned }
		first := b.Writer.queue.mu.segments[0]
		isOpen := func() bool { return first.log.Sync() == nil }
		b.sync()
		if !isOpen() {
			b.t.Error("a segment that is read is closed")
		}
		b.commit(1)
		b.sync()
		if !isOpen() {
			b.t.Error("a segment that is still read is closed")
		}
		pinned = nil
		b.Writer.queue.update(func(*queueState) {}) // the goroutine that syncs begins after this
		b.commit(1)
		b.sync()
		if isOpen() {
			b.t.Error("a segment that nobody reads is open")
		}
	})
}

// A goroutine that gives up does not count as one that waits.
func TestAwait_GivesUp(t *testing.T) {
	inBed(t, func(b *bed) {
		b.failUploads()
		number := b.commit(1)
		ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
		defer cancel()
		if err := b.Await(ctx, number); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, fs.ErrPermission) {
			b.t.Errorf("await: %v", err)
		}
		b.Writer.queue.update(func(s *queueState) {
			if n := s.waiting.len(); n != 0 {
				b.t.Errorf("%d goroutines wait", n)
			}
		})
	})
}

// A segment whose file cannot be removed stays until the next process finds that it is
// on the replica. If that process cannot remove it either, write mode is not turned on.
func TestUpload_NotRemoved(t *testing.T) {
	inBed(t, func(b *bed) {
		b.event = func(event string) error {
			if event == "before: remove segment" {
				return syscall.ENOSPC
			}
			return nil
		}
		b.commit(1)
		b.sync()
		if err := b.restart(); !errors.Is(err, syscall.ENOSPC) {
			b.t.Errorf("restart: %v", err)
		}
		b.event = nil
		if err := b.Enable(b.t.Context(), false); err != nil || b.Status().Counts.Recovered != 0 {
			b.t.Errorf("turned on: %v, %+v", err, b.Status())
		}
		if got := b.local(); got != "" {
			b.t.Errorf("there are files %s", got)
		}
		b.wantPages()
	})
}

// A file of a segment is an error if it could not be written, at whatever byte.
func TestEncode_Fails(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		s := b.Writer.queue.mu.segments[0]
		var whole bytes.Buffer
		if err := new(encoding).encode(&whole, s); err != nil {
			b.t.Fatal(err)
		}
		for n := range whole.Len() {
			if err := new(encoding).encode(&fullWriter{n}, s); !errors.Is(err, syscall.ENOSPC) {
				b.t.Errorf("after %d bytes: %v", n, err)
			}
		}
		if err := new(encoding).encode(&fullWriter{whole.Len()}, s); err != nil {
			b.t.Error(err)
		}
	})
}

// fullWriter takes some bytes and no more.
type fullWriter struct{ room int }

func (w *fullWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		return 0, syscall.ENOSPC
	}
	w.room -= len(p)
	return len(p), nil
}
