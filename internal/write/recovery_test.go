package write

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ownfile"
)

// A segment that recovery keeps aside has another name afterwards, and is not open
// any more.
func TestRecovery_KeepCloses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buffer")
	f, err := os.Create(path + "-00000003")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := commitlog.Create(f, commitlog.Header{PageSize: 512, Number: 3}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	b, err := openWriteBuffer(path, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	s, _, err := b.open(3, func(commitlog.Commit) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	r := &recovery{Deps: &Deps{Log: log}, b: b, left: []*leftSegment{{number: 3, log: s, fate: fateKeep, why: commitlog.ErrDamaged}}}
	if err := r.keep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.kept + "-00000003"); err != nil {
		t.Error(err)
	}
	if err := s.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the segment is open: %v", err)
	}
}

// If keeping segments aside ends in between, the first ones are those that stay: a
// later one alone does not say which commits it follows.
func TestKeepAside_Order(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buffer")
	renames := 0
	b, err := openWriteBuffer(path, slog.New(slog.DiscardHandler), func(op string) error {
		if op == "before: rename segment" {
			if renames++; renames > 2 {
				return syscall.ENOSPC
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	var segments []keptSegment
	for n := range uint64(4) {
		f, err := os.Create(b.segmentPath(n + 1))
		if err != nil {
			t.Fatal(err)
		}
		log, err := commitlog.Create(f, commitlog.Header{PageSize: 512, Number: n + 1})
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, keptSegment{number: n + 1, log: log})
	}
	kept, err := b.keepAside(segments)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("keep: %v", err)
	}
	for n, at := range []string{path, path, kept, kept} {
		if _, err := os.Stat(fmt.Sprintf("%s-%08d", at, n+1)); err != nil {
			t.Error(err)
		}
		if err := segments[n].log.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Commits of a temporary buffer that the disk has no room to keep are not reported as
// kept. The oldest ones are copied first, because those can be replayed.
func TestKeepAside_DiskFull(t *testing.T) {
	for name, end := range map[string]func(b *bed) error{
		"lose": func(b *bed) error { return b.lose(errOtherHistory) },
		"close": func(b *bed) error {
			ctx, cancel := context.WithCancel(b.t.Context())
			cancel()
			return b.Writer.Close(ctx, -1)
		},
	} {
		for _, room := range []int{0, 1} { // segments
			inBed(t, func(b *bed) {
				b.stop()
				b.path = ""
				b.start()
				if err := b.Enable(b.t.Context(), false); err != nil {
					b.t.Fatal(err)
				}
				b.failUploads()
				b.commit(1)
				b.rotate()
				b.commit(2)
				copies := 0
				b.event = func(event string) error {
					if event == "before: copy segment" {
						if copies++; copies > room {
							return syscall.ENOSPC
						}
					}
					return nil
				}
				err := end(b)
				if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "the commits are kept") {
					b.t.Fatalf("%s with room for %d segments: %v", name, room, err)
				}
				kept, gerr := filepath.Glob(filepath.Join(stateDir(), "litestream-buffer-*.kept-*"))
				if gerr != nil || len(kept) != room {
					b.t.Fatalf("%s: with room for %d segments, %s are kept, %v", name, room, kept, gerr)
				}
				if room == 0 {
					return
				}
				path, isFirst := strings.CutSuffix(kept[0], "-00000001")
				if !isFirst || !strings.Contains(err.Error(), "what could be kept is in "+path) {
					b.t.Errorf("%s: %s is kept: %v", name, kept, err)
				}
				b.stop()
				b.event, b.path = nil, path
				b.start()
				if err := b.Enable(b.t.Context(), false); err != nil || b.Status().Counts.Recovered != 1 {
					b.t.Errorf("%s: %v, %+v, %s", name, err, b.Status(), b.log)
				}
				b.client.refuse(nil)
				b.sync()
				b.want("0/1-1")
			})
		}
	}
}

// What is no file of this library keeps write mode off, and stays as it is.
func TestRecovery_Foreign(t *testing.T) {
	inBed(t, func(b *bed) {
		b.stop()
		if err := os.Mkdir(b.path+"-00000001", 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := b.next(nil); !errors.Is(err, ownfile.ErrForeign) {
			b.t.Errorf("a folder: %v", err)
		}
		b.stop()
		if err := os.Remove(b.path + "-00000001"); err != nil {
			b.t.Fatal(err)
		}
		text := bytes.Repeat([]byte("something else "), 100)
		if err := os.WriteFile(b.path+"-00000001", text, 0o600); err != nil {
			b.t.Fatal(err)
		}
		if err := b.next(nil); !errors.Is(err, ownfile.ErrForeign) {
			b.t.Errorf("a text: %v", err)
		}
		if got, err := os.ReadFile(b.path + "-00000001"); !bytes.Equal(got, text) {
			b.t.Errorf("it has changed: %v", err)
		}
	})
}

// TestRecovery_Owner opens a database with the write buffer of another one. It is refused
// unless its commits follow the state of the replica.
func TestRecovery_Owner(t *testing.T) {
	for _, tt := range []struct {
		name      string
		isSynced  bool // the replica has a state that the commits follow
		change    func(b *bed)
		isRefused bool
	}{
		{name: "an empty replica", isRefused: true},
		{name: "the same state", isSynced: true},
		{name: "another state", isSynced: true, change: func(b *bed) { b.put("0/1-1", 1000, 2, 1, 2) }, isRefused: true},
	} {
		inBed(t, func(b *bed) {
			b.owner = commitlog.Owner{Replica: "s3://one", Name: "app"}
			if err := b.restart(); err != nil {
				b.t.Fatal(err)
			}
			if tt.isSynced {
				b.commit(1, 2)
				b.sync()
			}
			b.leave(1)
			before := b.local()
			own := b.owner
			b.owner = commitlog.Owner{Replica: "s3://two", Name: "app"}
			if tt.change != nil {
				tt.change(b)
			}
			err := b.next(nil)
			if errors.Is(err, errs.ErrForeignBuffer) != tt.isRefused || err != nil && !tt.isRefused {
				b.t.Errorf("%s: %v", tt.name, err)
			}
			if !tt.isRefused {
				if n := b.Status().Counts.Recovered; n != 1 {
					b.t.Errorf("%s: %d commits are replayed", tt.name, n)
				}
				return
			}
			if !strings.Contains(err.Error(), "s3://one") || !strings.Contains(err.Error(), "s3://two") {
				b.t.Errorf("%s: %v", tt.name, err)
			}
			b.stop()
			if got := b.local(); got != before {
				b.t.Errorf("%s: the write buffer has %q, want %q", tt.name, got, before)
			}
			b.owner = own
			if err := b.next(nil); err != nil {
				b.t.Errorf("%s: opened for its own database: %v", tt.name, err)
			}
		})
	}
}

// Files without commits are removed if they are segments, or if the write buffer is
// ours. Otherwise they stay, and do not keep the write buffer from being removed.
func TestRecovery_NoCommits(t *testing.T) {
	inBed(t, func(b *bed) {
		b.stop()
		f, err := os.Create(b.path + "-00000009")
		if err != nil {
			b.t.Fatal(err)
		}
		if _, err := commitlog.Create(f, commitlog.Header{PageSize: testPageSize, Number: 9}); err != nil {
			b.t.Fatal(err)
		}
		if err := errors.Join(f.Close(), os.WriteFile(b.path+"-00000003", nil, 0o600)); err != nil {
			b.t.Fatal(err)
		}
		if err := b.next(nil); err != nil {
			b.t.Fatal(err)
		}
		if got := b.local(); got != " -00000003" || !strings.Contains(b.log.String(), "has no commits") {
			b.t.Errorf("there are %q, %s", got, b.log)
		}
		b.commit(1)
		if got := b.local(); got != " -00000003 -00000010" {
			b.t.Errorf("with a commit there are %q", got)
		}
		b.sync()
		if b.stop(); b.local() != "-00000003" {
			b.t.Errorf("closed, there are %q", b.local())
		}
		b.start()
	})
}

// Commits of a database without a name are replayed to an empty replica with a warning
// that it may be the wrong one.
func TestRecovery_NoOwner(t *testing.T) {
	inBed(t, func(b *bed) {
		b.leave(1)
		if err := b.next(nil); err != nil || b.Status().Counts.Recovered != 1 {
			b.t.Errorf("%v, %+v", err, b.Status())
		}
		if log := b.log.String(); !strings.Contains(log, "does not name its replica") {
			b.t.Error(log)
		}
		b.sync()
		b.leave(1)
		if err := b.next(nil); err != nil || b.Status().Counts.Recovered != 1 {
			b.t.Errorf("%v, %+v", err, b.Status())
		}
		if log := b.log.String(); strings.Contains(log, "does not name its replica") {
			b.t.Errorf("the state of the replica names it: %s", log)
		}
	})
}

// A write buffer whose folder cannot be listed is not taken for an empty one.
func TestRecovery_NotListed(t *testing.T) {
	inBed(t, func(b *bed) {
		b.stop()
		b.start()
		folder := filepath.Dir(b.path)
		w, err := openWriteBuffer(b.path, b.Deps.Log, nil)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := os.Rename(folder, folder+".moved"); err != nil {
			b.t.Skip(err) // this system does not move folders with open files
		}
		if _, err := recoverBuffer(b.t.Context(), b.Deps, w, b.Views.Current.Load()); !errors.Is(err, fs.ErrNotExist) {
			b.t.Errorf("recover: %v", err)
		}
		if err := os.Rename(folder+".moved", folder); err != nil {
			b.t.Fatal(err)
		}
		if err := w.close(); err != nil {
			b.t.Error(err)
		}
	})
}

// What was recovered counts as committed: the watermark says how far, each segment has a
// version of its own for its pages, and the oldest commit keeps its time.
func TestRecovery_TakesUp(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2, 3)
		first := b.newest()
		time.Sleep(time.Second)
		b.commit(2)
		if oldest := b.Status().Oldest.UnixMilli(); oldest != first {
			b.t.Errorf("the oldest commit is of %d, want %d", oldest, first)
		}
		b.rotate()
		b.commit(3)
		b.stop()
		if err := b.next(nil); err != nil || b.Status().Counts.Recovered != 3 {
			b.t.Fatalf("%v, %+v", err, b.Status())
		}
		if oldest := b.Status().Oldest.UnixMilli(); oldest != first {
			b.t.Errorf("recovered, the oldest commit is of %d, want %d", oldest, first)
		}
		for pgno, version := range map[uint32]ltx.TXID{1: 2, 2: 2, 3: 3} {
			loc, ok := b.Views.Newest().Lookup(pgno)
			page := make([]byte, testPageSize)
			if !ok || loc.Version != localVersion|version {
				b.t.Errorf("page %d has version %x", pgno, uint64(loc.Version))
			} else if err := loc.ReadSegment(pgno, page); err != nil || !bytes.Equal(page, bedPage(pgno, b.fills[pgno])) {
				b.t.Errorf("page %d is not what was committed: %v", pgno, err)
			}
		}
		text, err := os.ReadFile(b.path)
		if err != nil {
			b.t.Fatal(err)
		}
		last := b.Writer.queue.mu.segments[1].log
		if m := parseWatermark(text); m.number != last.Number || m.salt != last.Salt() || m.end != last.Size() {
			b.t.Errorf("the watermark is %+v, want the end of segment %d at %d", m, last.Number, last.Size())
		}
		b.sync()
		b.want("0/1-1 0/2-2")
		b.wantPages()
	})
}

// A part of a commit at the end of the write buffer is cut off: it was never
// acknowledged.
func TestRecovery_Tail(t *testing.T) {
	for _, tail := range [][]byte{nil, make([]byte, 100), bytes.Repeat([]byte{1}, 100)} {
		inBed(t, func(b *bed) {
			b.leave(1)
			f := b.open("-00000001")
			info, err := f.Stat()
			if err == nil {
				_, err = f.WriteAt(tail, info.Size())
			}
			if err := errors.Join(err, f.Close()); err != nil {
				b.t.Fatal(err)
			}
			cuts := 0
			b.event = func(event string) error {
				if event == "before: cut segment" {
					cuts++
				}
				return nil
			}
			if err := b.next(nil); err != nil || b.Status().Counts.Recovered != 1 || (cuts == 1) != (tail != nil) {
				b.t.Errorf("%d bytes: %v, %+v, cut %d times", len(tail), err, b.Status(), cuts)
			}
			again, err := os.Stat(b.path + "-00000001")
			if err != nil || again.Size() != info.Size() {
				b.t.Errorf("%d bytes: the segment has %d bytes instead of %d, %v", len(tail), again.Size(), info.Size(), err)
			}
			isLogged := strings.Contains(b.log.String(), "ends in")
			if isLogged != (tail != nil) || strings.Contains(b.local(), ".kept-") {
				b.t.Errorf("%d bytes: %s, %s", len(tail), b.local(), b.log)
			}
		})
	}
}
