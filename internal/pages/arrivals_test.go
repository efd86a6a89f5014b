package pages

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestArrivals waits for a page while others arrive: those that come together give one
// call, and none is made without a function.
func TestArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, told := range []bool{true, false} {
			var a arrivals
			calls := 0
			news := func() { calls++ }
			if !told {
				news = nil
			}
			done, result := make(chan struct{}), make(chan error)
			go func() { result <- a.await(t.Context(), done, news) }()
			for range 3 {
				for range 5 { // together
					synctest.Wait()
					a.Ring()
				}
				time.Sleep(2 * arrivalPause)
			}
			close(done)
			if err := <-result; err != nil {
				t.Error(err)
			}
			if want := 3; told && calls != want || !told && calls != 0 {
				t.Errorf("%d calls", calls)
			}
		}
		var a arrivals
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.await(ctx, nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	})
}
