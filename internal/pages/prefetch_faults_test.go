package pages

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// TestReadAhead_BodyBreaksOff has the request of a span end in its middle.
// The pages that arrived are used. Readers fetch the others themselves.
func TestReadAhead_BodyBreaksOff(t *testing.T) {
	const first, last = 100, 1100
	const got = 2*remote.ReadPart + remote.ReadPart/2
	for name, err := range map[string]error{
		"for good": fs.ErrPermission, "reset": errors.New("connection reset"), "short": io.EOF, "gone": fs.ErrNotExist,
	} {
		t.Run(name, func(t *testing.T) {
			inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
				var bodies atomic.Int64
				client.through = func(_ context.Context, _ int64, r io.Reader) io.Reader {
					if bodies.Add(1) > 1 {
						return r
					}
					return breakAfter(r, got, func() error { return err })
				}
				b.prefetcher.Prefetch(v, pgnoRange(first, last), 0, &scan{pace: new(window)})
				waits := make(chan error, 1)
				go func() {
					page, err := b.source.Page(t.Context(), v, last)
					if err == nil && !bytes.Equal(page, oddPage(last, 1)) {
						err = errors.New("the page is another")
					}
					waits <- err
				}()
				if err := <-waits; err != nil {
					t.Errorf("the reader that waits gets %v", err)
				}
				from, _ := v.Lookup(first)
				if to, _ := v.Lookup(last); to.Offset+int64(to.Size)-from.Offset > maxSpan || to.Offset-from.Offset < got {
					t.Fatalf("pages from %d to %d", from.Offset, to.Offset)
				}
				if n := b.store.Reads[remote.Speculative].Load(); n != 1 {
					t.Errorf("%d requests to read ahead, want one", n)
				}
				lost := 0
				for pgno := uint32(first); pgno < last; pgno++ {
					loc, _ := v.Lookup(pgno)
					requests := int64(0)
					if loc.Offset+int64(loc.Size)-from.Offset > got {
						requests = 1
						lost++
					}
					wantOdd(t, b, v, 1, requests, pgno)
				}
				if lost < 100 {
					t.Errorf("only %d pages were lost", lost)
				}
				wantNothingPrefetched(t, b)
			})
		})
	}
}

// TestReadAhead_CorruptFrame breaks a frame in the middle of a span.
func TestReadAhead_CorruptFrame(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		loc, _ := v.Lookup(20)
		broken := true
		client.through = func(_ context.Context, off int64, r io.Reader) io.Reader {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			if i := loc.Offset - off; broken && i >= 0 && i < int64(len(b)) {
				b = bytes.Clone(b)
				b[i+9]++ // of the size
			}
			return bytes.NewReader(b)
		}
		b.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, &scan{pace: new(window)})
		synctest.Wait()
		if n := unclaimedIn(b); n != 20 || client.opens.Load() != 1 {
			t.Errorf("%d pages ahead after %d requests", n, client.opens.Load())
		}
		wantOdd(t, b, v, 1, 0, append(pgnoRange(10, 19), pgnoRange(21, 30)...)...)
		_, err := b.source.Page(t.Context(), v, 20)
		if !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), "page 20") || !strings.Contains(err.Error(), loc.File.String()) {
			t.Errorf("page 20: %v", err)
		}
		wantNothingPrefetched(t, b)

		// Between pages that are asked for, it does no harm.
		b.dropCache()
		b.prefetcher.Prefetch(v, []uint32{18, 22}, 0, &scan{pace: new(window)})
		synctest.Wait()
		wantOdd(t, b, v, 1, 0, 18, 19, 21, 22)
		broken = false
		wantOdd(t, b, v, 1, 1, 20)
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_DeletedFile has the file of a span be compacted and deleted.
func TestReadAhead_DeletedFile(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, _ *view.View) {
		pgnos := pgnoRange(10, 30)
		putOdd(t, client, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, 3000, 3, pgnos)
		b.advance(t)
		v := b.Current.Load()
		b.dropCache()
		putOdd(t, client, view.Key{Level: 1, MinTXID: 2, MaxTXID: 2}, 3000, 3, pgnos)
		client.remove(t, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2})
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		b.prefetcher.Prefetch(v, pgnos, 0, &scan{pace: new(window)})
		// It waits for the span, and then finds another file.
		if page, err := b.source.Page(t.Context(), v, 15); err != nil || !bytes.Equal(page, oddPage(15, 3)) {
			t.Errorf("page 15: %v", err)
		}
		wantNothingPrefetched(t, b)
		b.dropCache()
		wantOdd(t, b, v, 3, int64(len(pgnos)), pgnos...)
		b.dropCache()
		// Now it is known where they are.
		b.prefetcher.Prefetch(b.Current.Load(), pgnos, 0, &scan{pace: new(window)})
		time.Sleep(time.Minute)
		wantOdd(t, b, b.Current.Load(), 3, 0, pgnos...)
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_Panic has the client panic during a span.
func TestReadAhead_Panic(t *testing.T) {
	for _, inBody := range []bool{false, true} {
		inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
			well := false
			bug := func() {
				if !well {
					well = true
					panic("client bug")
				}
			}
			client.open = func(view.Key, int64) error {
				time.Sleep(time.Second)
				if !inBody {
					bug()
				}
				return nil
			}
			client.through = func(_ context.Context, _ int64, r io.Reader) io.Reader {
				if well {
					return r
				}
				return breakAfter(r, 1000, func() error {
					bug()
					return nil
				})
			}
			b.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, &scan{pace: new(window)})
			// It waits for the span, and then reads the page alone.
			if page, err := b.source.Page(t.Context(), v, 15); err != nil || !bytes.Equal(page, oddPage(15, 1)) {
				t.Errorf("page 15: %v", err)
			}
			if n := client.opens.Load(); n != 2 {
				t.Errorf("%d requests, want 2", n)
			}
			if !well {
				t.Error("there was no panic")
			}
			wantNothingPrefetched(t, b)
			wantOdd(t, b, v, 1, 1, 16)
		})
	}
}

// TestReadAhead_Close closes a database in the middle of a span, while
// a reader waits for a page of it and another span queues.
func TestReadAhead_Close(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		b.store.Limit = remote.NewLimiter(1)
		client.through = func(ctx context.Context, _ int64, r io.Reader) io.Reader {
			return breakAfter(r, 1000, func() error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		b.prefetcher.Prefetch(v, append(pgnoRange(10, 30), pgnoRange(1000, 1030)...), 0, &scan{pace: new(window)})
		got := make(chan error, 1)
		go func() {
			ctx, cancel := b.tasks.WithTimeout(-1)
			defer cancel()
			_, err := b.source.Page(ctx, v, 20)
			got <- err
		}()
		synctest.Wait()
		start := time.Now()
		b.close()
		if err := <-got; err == nil {
			t.Error("the reader that waits gets no error")
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("closed after %v", d)
		}
		if n := client.opens.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
		wantNothingPrefetched(t, b)
		if b.prefetcher.Prefetch(v, pgnoRange(50, 60), 0, &scan{pace: new(window)}); client.opens.Load() != 1 {
			t.Error("reads ahead after it was closed")
		}
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_WaiterLeaves has a reader give up before its page lands,
// because the client ignores the end of the context.
func TestReadAhead_WaiterLeaves(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		b.prefetcher.timeout = 5 * time.Second
		from, _ := v.Lookup(20)
		client.fetch = func(_ view.Key, off int64) {
			if off >= from.Offset {
				time.Sleep(time.Minute)
			}
		}
		r, pgno := b.reader(), uint32(10)
		for ; pgno < 100; pgno++ {
			if _, err := r.read(pgno); err != nil {
				break
			}
		}
		if pgno < 20 || pgno == 100 {
			t.Errorf("reads up to page %d", pgno)
		}
		r.predictor.End()
		time.Sleep(time.Hour)
		wantNothingPrefetched(t, b)
	})
}

// TestReadAhead_FailedForWaiter has the request of a span fail after a reader
// has begun to wait for a page of it. The limiter has no place left for
// read-ahead, which does not hold the reader up.
func TestReadAhead_FailedForWaiter(t *testing.T) {
	inBed(t, Options{}, func(t *testing.T, client *hookClient, b *bed, v *view.View) {
		l := remote.NewLimiter(4)
		b.store.Limit = l
		var held []*remote.Ticket // take long
		for range 3 {
			held = append(held, l.Enqueue(remote.Foreground))
		}
		failed := false
		client.open = func(view.Key, int64) error {
			if !failed {
				failed = true
				return errors.New("connection reset")
			}
			return nil
		}
		b.prefetcher.Prefetch(v, pgnoRange(10, 30), 0, &scan{pace: new(window)})
		go func() {
			time.Sleep(20 * time.Second)
			for _, ticket := range held {
				l.Done(ticket)
			}
		}()
		start := time.Now()
		if _, err := b.source.Page(t.Context(), v, 20); err != nil {
			t.Error(err)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("waited %v with a place free", d)
		}
		time.Sleep(time.Minute)
		giveUp(b, v, pgnoRange(10, 30)...)
		wantNothingPrefetched(t, b)
	})
}
