package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// guessing returns a snapshot whose reads take a second, and a view of it in which
// the index from a page on is unread.
func guessing(t *testing.T) (*snapshotFile, *view.View) {
	f := newSnapshotFile(t, nil)
	f.Tasks, f.MaxWhole = task.NewGroup(), -1
	f.Limit = NewLimiter(8)
	f.delay = time.Second
	v := f.load(t)
	return f, v
}

// fetch fetches a page, and returns whether its frame came with it, after how many
// round trips.
func (f *snapshotFile) fetch(t *testing.T, v *view.View, pgno uint32) (guessed bool, trips int) {
	t.Helper()
	loc, _ := v.Lookup(pgno)
	if !loc.IsUnread() {
		t.Fatalf("the place of page %d is known", pgno)
	}
	start := time.Now()
	loc, frame, err := f.Fetch(t.Context(), pgno, loc)
	want := f.at[pgno]
	if err != nil || loc.Offset != want.Offset || loc.Size != want.Size {
		t.Fatalf("page %d is at %d+%d, want %+v: %v", pgno, loc.Offset, loc.Size, want, err)
	}
	if frame != nil && !bytes.Equal(frame, f.b[want.Offset:want.Offset+int64(want.Size)]) {
		t.Fatalf("page %d: the frame is another one", pgno)
	}
	return frame != nil, int(time.Since(start) / f.delay)
}

// TestFetch_Guess fetches a page whose place is unread, and its frame with it.
func TestFetch_Guess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, v := guessing(t)
		right := 0
		for pgno := uint32(5_000); pgno < snapshotPages; pgno += 20_000 {
			guessed, trips := f.fetch(t, v, pgno)
			if trips != 1 {
				t.Errorf("page %d takes %d round trips", pgno, trips)
			}
			if guessed {
				right++
			}
		}
		if right == 0 {
			t.Error("no guess was right")
		}
	})
}

// guessClient does something else with reads of frames after the head of the file.
type guessClient struct {
	snapshotClient
	open func(ctx context.Context) (io.ReadCloser, error)
}

func (c guessClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if last := c.f.at[snapshotPages]; offset > 0 && offset < last.Offset {
		return c.open(ctx)
	}
	return c.snapshotClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// TestFetch_GuessFails has guesses that fail, or that are slow. The place of the page
// is found all the same.
func TestFetch_GuessFails(t *testing.T) {
	for name, open := range map[string]func(ctx context.Context) (io.ReadCloser, error){
		"an error":     func(context.Context) (io.ReadCloser, error) { return nil, errors.New("the store is down") },
		"a short body": func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(nil)), nil },
		"slow": func(ctx context.Context) (io.ReadCloser, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, v := guessing(t)
				begun := 0
				f.Client = guessClient{f.Client.(snapshotClient), func(ctx context.Context) (io.ReadCloser, error) {
					begun++
					return open(ctx)
				}}
				f.Hedge = new(Hedge)
				for range minHedgeSamples {
					f.Hedge.observe(f.delay)
				}
				guessed, trips := f.fetch(t, v, 5_000)
				if guessed || trips > 2 || begun != 1 {
					t.Errorf("guessed: %v, %d round trips, %d guesses", guessed, trips, begun)
				}
				time.Sleep(time.Minute)
				if running, waiting := f.Limit.Load(); running+waiting > 0 {
					t.Errorf("%d requests run, %d wait", running, waiting)
				}
			})
		})
	}
}

// TestFetch_Canceled gives up a page while a guess is under way.
func TestFetch_Canceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, v := guessing(t)
		loc, _ := v.Lookup(5_000)
		ctx, cancel := context.WithTimeout(t.Context(), f.delay/2)
		defer cancel()
		if _, _, err := f.Fetch(ctx, 5_000, loc); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if running := len(f.windows.mu.all); running != 0 {
			t.Errorf("%d reads are left over", running)
		}
	})
}

// TestCredit has guesses that are wrong, until no more are made.
func TestCredit(t *testing.T) {
	var c credit
	for range maxWrong {
		if !c.isOpen() {
			t.Fatal("closed too early")
		}
		c.note(false)
	}
	for range 100 {
		c.note(false)
	}
	if c.isOpen() {
		t.Error("open after wrong guesses")
	}
	if c.note(true); !c.isOpen() {
		t.Error("closed after one that would have been right")
	}
	for range 100 {
		c.note(true)
	}
	if c.note(false); !c.isOpen() {
		t.Error("closed by one wrong guess")
	}
}

// A guess is awaited as long as a read that gets no second request, or until the
// caller gives up.
func TestAwait_Slow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{Hedge: new(Hedge)}
		g := &guess{done: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if ok, err := s.await(ctx, g); ok || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before it is known what is slow: %v, %v", ok, err)
		}
		for range minHedgeSamples {
			s.Hedge.observe(time.Second)
		}
		start := time.Now()
		if ok, err := s.await(t.Context(), g); ok || err != nil || time.Since(start) != time.Second {
			t.Errorf("a slow guess: %v, %v after %s", ok, err, time.Since(start))
		}
		close(g.done)
		if ok, err := s.await(t.Context(), g); !ok || err != nil {
			t.Errorf("a guess that has come: %v, %v", ok, err)
		}
	})
}
