package feed_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/feed"
	"github.com/ltxvfs/litestream/internal/task"
)

// counter produces the numbers from 0 to n-1.
func counter(n int, made *int, err error) func(context.Context, *feed.Output[int]) error {
	return func(_ context.Context, out *feed.Output[int]) error {
		for i := range n {
			*made = i + 1
			if err := out.Add(i, 10); err != nil {
				return err
			}
		}
		return err
	}
}

// newGroup returns a group that is closed at the end of the test.
func newGroup(t *testing.T) *task.Group {
	g := task.NewGroup()
	t.Cleanup(func() {
		g.Close(errors.New("the test is over"))
		g.Wait()
	})
	return g
}

// TestFeed takes all values in their order, and then the error.
func TestFeed(t *testing.T) {
	for _, want := range []error{nil, errors.New("broken")} {
		var made int
		f := feed.Start(newGroup(t), 100, counter(1000, &made, want))
		for i := range 1000 {
			if v, ok, err := f.Next(t.Context()); v != i || !ok || err != nil {
				t.Fatalf("value %d is %d, %t, %v", i, v, ok, err)
			}
		}
		for range 2 {
			if _, ok, err := f.Next(t.Context()); ok || err != want {
				t.Errorf("after the end: %t, %v, want %v", ok, err, want)
			}
		}
		f.Close()
		f.Close()
	}
}

// TestFeed_OneAtATime has room for one value, so that the two sides wait for each other
// again and again.
func TestFeed_OneAtATime(t *testing.T) {
	var made int
	const n = 50_000
	f := feed.Start(newGroup(t), 1, counter(n, &made, nil))
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for i := range n {
		if v, ok, err := f.Next(ctx); v != i || !ok || err != nil {
			t.Fatalf("value %d is %d, %t, %v", i, v, ok, err)
		}
	}
}

// TestFeed_Bounded checks that no more is made ahead than the limit says, and that
// Close ends a producer that waits.
func TestFeed_Bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var made int
		f := feed.Start(newGroup(t), 100, counter(1000, &made, nil))
		synctest.Wait()
		if made != 10 {
			t.Errorf("%d values are made before one is wanted", made)
		}
		if v, ok := f.TryNext(); v != 0 || !ok {
			t.Errorf("the first value is %d, %t", v, ok)
		}
		synctest.Wait()
		if made != 20 {
			t.Errorf("%d values are made ahead of one", made)
		}
		f.Close()
		if made != 20 {
			t.Errorf("%d values are made after the end", made)
		}
	})
}

// TestFeed_Waits checks that a value comes as soon as it is flushed, and that a wait ends with its
// context and can begin again.
func TestFeed_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := feed.Start(newGroup(t), 100, func(ctx context.Context, out *feed.Output[string]) error {
			for _, s := range []string{"a", "b"} {
				time.Sleep(time.Minute)
				if err := out.Add(s, 1); err != nil {
					return err
				}
				out.Flush()
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		defer f.Close()
		start := time.Now()
		if _, ok := f.TryNext(); ok {
			t.Error("a value is there before it is made")
		}
		if v, ok, err := f.Next(t.Context()); v != "a" || !ok || err != nil || time.Since(start) != time.Minute {
			t.Errorf("%q, %t, %v after %s", v, ok, err, time.Since(start))
		}
		over := errors.New("over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, over)
		defer cancel()
		if _, ok, err := f.Next(ctx); ok || err != over {
			t.Errorf("a wait that ends: %t, %v", ok, err)
		}
		if v, ok, err := f.Next(t.Context()); v != "b" || !ok || err != nil || time.Since(start) != 2*time.Minute {
			t.Errorf("%q, %t, %v after %s", v, ok, err, time.Since(start))
		}
	})
}

// TestFeed_Group checks that a group that is closed ends its feeds, and begins none.
func TestFeed_Group(t *testing.T) {
	g := newGroup(t)
	var made int
	f := feed.Start(g, 100, counter(1000, &made, nil))
	over := errors.New("over")
	g.Close(over)
	g.Wait()
	var err error
	for ok := true; ok; {
		_, ok, err = f.Next(t.Context())
	}
	if err != over {
		t.Errorf("the error is %v", err)
	}
	f.Close()
	if feed.Start(g, 100, counter(1, &made, nil)) != nil {
		t.Error("a feed begins in a closed group")
	}
}
