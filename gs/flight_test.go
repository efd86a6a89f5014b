package gs

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A run goes on for those who wait for it when whoever began it has gone, and
// there is one at a time.
func TestFlight(t *testing.T) {
	var f flight[int]
	runs, finish, began := 0, make(chan struct{}), make(chan struct{})
	run := func(ctx context.Context) (int, error) {
		runs++
		began <- struct{}{}
		select {
		case <-finish:
			return runs, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := f.do(ctx, time.Minute, run)
		first <- err
	}()
	<-began
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}

	// Whoever asks now joins: a run of its own would fail.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.do(gone, time.Minute, func(context.Context) (int, error) { panic("a second run") }); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want context.Canceled", err)
	}
	joined := make(chan int, 1)
	f.mu.Lock()
	c := f.current
	f.mu.Unlock()
	go func() {
		<-c.done
		joined <- c.value
	}()
	close(finish)
	if got := <-joined; got != 1 || c.err != nil || runs != 1 {
		t.Errorf("got %d, %v from %d runs, want 1 from the first", got, c.err, runs)
	}

	// The next is a new one.
	if got, err := f.do(t.Context(), time.Minute, func(context.Context) (int, error) { return 2, nil }); err != nil || got != 2 {
		t.Errorf("got %d, %v, want 2", got, err)
	}
}
