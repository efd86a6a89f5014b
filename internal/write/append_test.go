package write

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
)

// A commit that is not finished when write mode is lost is not kept: the connection
// gets an error for it.
func TestLose_Unfinished(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1)
		h := b.begin()
		tx := NewTransaction(h.pinned, nil)
		if err := tx.Write(bedPage(1, 99), 0); err != nil {
			b.t.Fatal(err)
		}
		c, err := b.Append(tx, false)
		if err != nil {
			b.t.Fatal(err)
		}
		before := b.Views.Current.Load().State
		if err := b.lose(errOtherHistory); !errors.Is(err, errs.ErrConflict) {
			b.t.Error(err)
		}
		if b.Views.Current.Load().State == before {
			b.t.Error("SQLite may go on with pages of commits that are lost")
		}
		if err := b.Finish(h, tx, []*LocalCommit{c}); !errors.Is(err, errs.ErrConflict) {
			b.t.Errorf("finish: %v", err)
		}
		commits := 0
		f := b.open(b.local())
		defer f.Close()
		if _, tail, err := commitlog.Open(f, func(commitlog.Commit) error { commits++; return nil }); err != nil || tail.Size > 0 || commits != 1 {
			b.t.Errorf("%d commits and %d bytes are kept, %v", commits, tail.Size, err)
		}
	})
}

// sealSeveral appends a commit of page 1 that is one of several databases.
func (b *bed) sealSeveral() (h *fakeHolder, tx *Transaction, c *LocalCommit) {
	b.t.Helper()
	h = b.begin()
	tx = NewTransaction(h.pinned, nil)
	b.fill++
	if err := tx.Write(bedPage(1, b.fill), 0); err != nil {
		b.t.Fatal(err)
	}
	c, err := b.AppendSeveral(tx)
	if err != nil {
		b.t.Fatal(err)
	}
	b.fills[1] = b.fill
	return h, tx, c
}

// keptAside returns the number of commits that are kept aside.
func (b *bed) keptAside() (commits int) {
	b.t.Helper()
	for name := range strings.FieldsSeq(b.local()) {
		if !strings.HasPrefix(name, ".kept-") {
			b.t.Errorf("%s is left", name)
			continue
		}
		f := b.open(name)
		if _, tail, err := commitlog.Open(f, func(commitlog.Commit) error { commits++; return nil }); err != nil || tail.Size > 0 {
			b.t.Errorf("%s has %d bytes more, %v", name, tail.Size, err)
		}
		_ = f.Close()
	}
	return commits
}

// SQLite ignores the error of Finish in a commit of several databases, so such a commit
// may be acknowledged. The loss of write mode waits until it is finished or taken back.
// If neither happens, it is kept like those before it.
func TestLose_Several(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(b *bed, h *fakeHolder, tx *Transaction, c *LocalCommit) error // nil: nothing ends it
		kept int
	}{
		{"finished", func(b *bed, h *fakeHolder, tx *Transaction, c *LocalCommit) error {
			return b.Finish(h, tx, []*LocalCommit{c})
		}, 2},
		{"taken back", func(b *bed, _ *fakeHolder, _ *Transaction, c *LocalCommit) error {
			b.TakeBack([]*LocalCommit{c})
			return nil
		}, 1},
		{"half done", nil, 2},
	} {
		for _, isNew := range []bool{true, false} { // the commit begins a segment
			inBed(t, func(b *bed) {
				b.commit(1)
				if isNew {
					b.rotate()
				}
				h, tx, c := b.sealSeveral()
				lost := make(chan error, 1)
				start := time.Now()
				go func() { lost <- b.lose(errOtherHistory) }()
				synctest.Wait()
				if len(lost) > 0 {
					b.t.Fatalf("%s: the loss does not wait", tt.name)
				}
				want := severalPatience
				if tt.end != nil {
					want = 0
					if err := tt.end(b, h, tx, c); err != nil {
						b.t.Errorf("%s: %v", tt.name, err)
					}
					b.End(h)
					if err := b.Begin(&fakeHolder{b.Views.Newest()}); err == nil {
						b.t.Errorf("%s: a transaction begins", tt.name)
					}
				}
				if err := <-lost; !errors.Is(err, errs.ErrConflict) || time.Since(start) != want {
					b.t.Errorf("%s: lost after %s: %v", tt.name, time.Since(start), err)
				}
				if tt.end == nil {
					if err := b.Finish(h, tx, []*LocalCommit{c}); !errors.Is(err, errs.ErrConflict) {
						b.t.Errorf("%s: finish: %v", tt.name, err)
					}
					b.TakeBack([]*LocalCommit{c})
					b.End(h)
				}
				if n := b.keptAside(); n != tt.kept {
					b.t.Errorf("%s, in a new segment: %v: %d commits are kept, want %d", tt.name, isNew, n, tt.kept)
				}
			})
		}
	}
}

// A commit that write mode has left behind at its end is not cut off by the connection,
// to which it looks as if the commit had failed.
func TestTakeBack_Several(t *testing.T) {
	inBed(t, func(b *bed) {
		h, _, c := b.sealSeveral()
		size := c.segment.log.Size()
		var rest leftover
		b.Writer.queue.update(func(s *queueState) { rest = s.giveUp() })
		b.TakeBack([]*LocalCommit{c})
		b.End(h)
		if len(rest.segments) != 1 || rest.segments[0] != c.segment || c.segment.log.Size() != size {
			b.t.Errorf("%d segments are left, and the last one has %d bytes of %d", len(rest.segments), c.segment.log.Size(), size)
		}
		if err := rest.buffer.close(); err != nil {
			b.t.Error(err)
		}
	})
}

// A commit is not acknowledged if it cannot be recorded that it was.
func TestAppend_NotAcknowledged(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1)
		h := b.begin()
		before := b.Views.Newest()
		size := b.Status().Unsynced
		if err := b.Writer.queue.mu.buffer.lock.file.Close(); err != nil {
			b.t.Fatal(err)
		}
		tx := NewTransaction(h.pinned, nil)
		if err := tx.Write(bedPage(1, 99), 0); err != nil {
			b.t.Fatal(err)
		}
		if c, err := b.Append(tx, false); err == nil {
			b.t.Errorf("commit %d is acknowledged", c.Number)
		}
		b.End(h)
		if b.Views.Newest() != before || b.Status().Unsynced != size {
			b.t.Error("a commit that failed is there")
		}
	})
}

// A commit that the disk does not take fails, and nothing of it is left: neither in the
// view, nor for the next commit, nor for the next process.
func TestAppend_DiskFails(t *testing.T) {
	for _, op := range []string{"create segment", "write header", "sync folder", "append commit", "sync segment", "note commit"} {
		for _, when := range []string{"before: ", "after: "} {
			for _, isNew := range []bool{true, false} { // the commit begins a segment
				inBed(t, func(b *bed) {
					b.commit(1, 2)
					if isNew {
						b.rotate()
					}
					failed := false
					b.event = func(event string) error {
						if event == when+op {
							failed = true
							return syscall.ENOSPC
						}
						return nil
					}
					h := b.begin()
					tx := NewTransaction(h.pinned, nil)
					if err := tx.Write(bedPage(2, 99), testPageSize); err != nil {
						b.t.Fatal(err)
					}
					before := b.Views.Newest()
					c, err := b.Append(tx, true)
					if !failed {
						b.TakeBack([]*LocalCommit{c}) // that operation is not needed
					} else if !errors.Is(err, syscall.ENOSPC) || b.Views.Newest() != before {
						b.t.Errorf("%s%s: %v", when, op, err)
					}
					b.End(h)
					b.event = nil
					b.commit(1)
					b.stop()
					b.start()
					if err := b.Enable(b.t.Context(), false); err != nil || b.Status().Counts.Recovered != 2 || strings.Contains(b.local(), ".kept-") {
						b.t.Errorf("%s%s: %v, %+v, %s", when, op, err, b.Status(), b.log)
					}
					b.sync()
					b.wantPages()
				})
			}
		}
	}
}

// A durable commit that was taken back is not there after a loss of power: what is on
// the disk then is what was synced last. It may be of any segment, also of a new one,
// whose removal the disk need not know of.
func TestTakeBack_Durable(t *testing.T) {
	for _, isNew := range []bool{true, false} {
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			if isNew {
				b.rotate()
			}
			disk := make(map[string][]byte)
			b.event = func(event string) error {
				if event != "after: sync segment" {
					return nil
				}
				segments, err := filepath.Glob(b.path + "-*")
				for _, path := range segments {
					body, rerr := os.ReadFile(path)
					disk[path], err = body, errors.Join(err, rerr)
				}
				return err
			}
			h := b.begin()
			tx := NewTransaction(h.pinned, nil)
			if err := tx.Write(bedPage(2, 99), testPageSize); err != nil {
				b.t.Fatal(err)
			}
			c, err := b.Append(tx, true)
			if err != nil {
				b.t.Fatal(err)
			}
			b.TakeBack([]*LocalCommit{c})
			b.End(h)
			b.event = nil
			b.stop()
			if len(disk) == 0 {
				b.t.Fatal("nothing was synced")
			}
			for path, body := range disk {
				if err := os.WriteFile(path, body, 0o600); err != nil {
					b.t.Fatal(err)
				}
			}
			b.start()
			if err := b.Enable(b.t.Context(), false); err != nil || b.Status().Counts.Recovered != 1 || strings.Contains(b.local(), ".kept-") {
				b.t.Errorf("in a new segment: %v: %v, %+v, %s", isNew, err, b.Status(), b.log)
			}
			b.sync()
			b.wantPages()
		})
	}
}

// A commit survives a loss of power only if those before it do. After a sync of theirs
// has failed, the next sync succeeds, whether or not what they wrote is on the disk: it
// is written again before that, also by the next process.
func TestAppend_SyncFailedBefore(t *testing.T) {
	for _, by := range []string{"the same segment", "the next segment", "the next process"} {
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			b.failUploads()
			if err := b.tryCommit(false); err != nil {
				b.t.Fatal(err)
			}
			if by != "the same segment" {
				b.rotate()
			}
			var events []string
			b.event = func(event string) error {
				events = append(events, event)
				if event == "before: sync segment" && len(events) < 10 {
					return syscall.EIO
				}
				return nil
			}
			if err := b.tryCommit(true); !errors.Is(err, syscall.EIO) {
				b.t.Errorf("%s: error %v, want EIO", by, err)
			}
			if by == "the next process" {
				if err := b.restart(); err != nil {
					b.t.Fatal(err)
				}
			}
			events = make([]string, 10)
			if err := b.tryCommit(true); err != nil {
				b.t.Errorf("%s: %v", by, err)
			}
			again, synced := slices.Index(events, "after: write segment again"), slices.Index(events, "before: sync segment")
			if again < 0 || synced < again {
				b.t.Errorf("%s: %q", by, events)
			}
			b.client.refuse(nil)
			b.sync()
			b.wantPages()
		})
	}
}

// A commit does not survive a loss of power if what it needs is lost, and is not in the
// memory of the system any more either.
func TestAppend_SyncLost(t *testing.T) {
	inBed(t, func(b *bed) {
		b.failUploads()
		b.commit(1, 2)
		if err := b.tryCommit(false); err != nil {
			b.t.Fatal(err)
		}
		path, err := filepath.Glob(b.path + "-*")
		if err != nil || len(path) != 1 {
			b.t.Fatal(path, err)
		}
		b.event = func(event string) error {
			if event != "before: sync segment" {
				return nil
			}
			info, err := os.Stat(path[0])
			if err == nil {
				err = os.Truncate(path[0], info.Size()/2)
			}
			return errors.Join(syscall.EIO, err, os.Truncate(path[0], info.Size()))
		}
		if err := b.tryCommit(true); !errors.Is(err, syscall.EIO) {
			b.t.Errorf("error %v, want EIO", err)
		}
		b.event = nil
		for range 2 {
			if err := b.tryCommit(true); !errors.Is(err, commitlog.ErrDamaged) {
				b.t.Errorf("error %v, want commitlog.ErrDamaged", err)
			}
		}
	})
}

// Nothing is committed to a database whose page 1 is not one.
func TestAppend_NoHeader(t *testing.T) {
	inBed(t, func(b *bed) {
		b.put("9/1-1", 1000, 2, 1, 2)
		if err := b.restart(); err != nil {
			b.t.Fatal(err)
		}
		b.pages.have = map[uint32][]byte{1: make([]byte, testPageSize)}
		h := b.begin()
		tx := NewTransaction(h.pinned, nil)
		if err := tx.Write(bedPage(2, 1), testPageSize); err != nil {
			b.t.Fatal(err)
		}
		if _, err := b.Append(tx, false); err == nil || !strings.Contains(err.Error(), "page 1 as of transaction") {
			b.t.Error(err)
		}
		b.pages.have = nil
		if _, err := b.Append(tx, false); err != nil {
			b.t.Error(err)
		}
		b.End(h)
	})
}
