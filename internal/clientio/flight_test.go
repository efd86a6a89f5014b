package clientio_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s clientio.Shared[int]
		var runs atomic.Int64
		refused := errors.New("refused")
		create := func(context.Context) (*int, error) {
			time.Sleep(time.Second)
			n := int(runs.Add(1))
			if n == 1 {
				return nil, refused
			}
			return &n, nil
		}

		// All that wait for a run get its error, and the next call tries again.
		errs := make(chan error, 10)
		for range cap(errs) {
			go func() { _, err := s.Get(t.Context(), create); errs <- err }()
		}
		for range cap(errs) {
			if err := <-errs; !errors.Is(err, refused) {
				t.Errorf("got error %v, want the error of the run", err)
			}
		}
		if runs.Load() != 1 || s.Peek() != nil {
			t.Errorf("%d runs, value %v", runs.Load(), s.Peek())
		}
		for range 2 {
			if got, err := s.Get(t.Context(), create); err != nil || *got != 2 || s.Peek() != got {
				t.Errorf("got %v, %v, want the value of the second run", got, err)
			}
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Get(done, create); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want context.Canceled", err)
		}
	})
}

// A run that ends because its caller gave up is no error of the others, and a
// caller does not wait for a run that ignores its context.
func TestShared_GivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s clientio.Shared[string]
		stubborn := make(chan struct{})
		first := func(ctx context.Context) (*string, error) {
			<-stubborn
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		leader, waiter := make(chan error, 1), make(chan error, 1)
		go func() { _, err := s.Get(ctx, first); leader <- err }()
		synctest.Wait()
		go func() {
			_, err := s.Get(t.Context(), func(ctx context.Context) (*string, error) {
				value := "second"
				return &value, ctx.Err()
			})
			waiter <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-leader; !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want context.Canceled", err)
		}
		close(stubborn)
		if err := <-waiter; err != nil {
			t.Errorf("the other caller gets error %v", err)
		}
		if got := s.Peek(); got == nil || *got != "second" {
			t.Errorf("got %v", got)
		}
	})
}

// A run that reaches a time limit of its own fails for all callers.
func TestShared_OwnLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s clientio.Shared[int]
		slow := func(ctx context.Context) (*int, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		start := time.Now()
		errs := make(chan error, 5)
		for range cap(errs) {
			go func() { _, err := s.Get(t.Context(), slow); errs <- err }()
		}
		for range cap(errs) {
			if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got error %v, want context.DeadlineExceeded", err)
			}
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v, want one run of a second", d)
		}
	})
}

func TestShared_Panic(t *testing.T) {
	var s clientio.Shared[int]
	if _, err := s.Get(t.Context(), func(context.Context) (*int, error) { panic("boom") }); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Errorf("got error %v, want one that says boom", err)
	}
	if got, err := s.Get(t.Context(), func(context.Context) (*int, error) { return new(int), nil }); err != nil || got == nil {
		t.Errorf("after a panic: got %v, %v", got, err)
	}
}

// A run that is detached from its caller goes on for the callers that are left.
func TestFlight_Detached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f clientio.Flight[int]
		var runs atomic.Int64
		run := func(ctx context.Context) (int, error) {
			ctx = context.WithoutCancel(ctx)
			time.Sleep(time.Second)
			return int(runs.Add(1)), ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		errs, joined := make(chan error, 1), make(chan int, 3)
		go func() { _, err := f.Do(ctx, run); errs <- err }()
		synctest.Wait()
		for range cap(joined) {
			go func() {
				got, err := f.Do(t.Context(), func(context.Context) (int, error) { panic("a second run") })
				if err != nil {
					t.Error(err)
				}
				joined <- got
			}()
		}
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want context.Canceled", err)
		}
		for range cap(joined) {
			if got := <-joined; got != 1 {
				t.Errorf("got %d, want the result of the first run", got)
			}
		}
		if got, err := f.Do(t.Context(), run); got != 2 || err != nil {
			t.Errorf("got %d, %v, want a new run", got, err)
		}
	})
}

// A run that is detached and fails for a reason of its own fails for all.
func TestFlight_DetachedFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f clientio.Flight[int]
		refused := errors.New("refused")
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _ = f.Do(ctx, func(context.Context) (int, error) { time.Sleep(time.Second); return 0, refused })
		}()
		synctest.Wait()
		cancel()
		if _, err := f.Do(t.Context(), func(context.Context) (int, error) { panic("a second run") }); !errors.Is(err, refused) {
			t.Errorf("got error %v, want the error of the first run", err)
		}
	})
}
