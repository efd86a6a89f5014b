package task_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
)

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := task.NewGroup()
		ended := false
		if !g.Go(func() {
			<-g.Context().Done()
			time.Sleep(time.Second)
			ended = true
		}) {
			t.Fatal("nothing runs in a new group")
		}
		ctx, cancel := g.WithTimeout(-1)
		defer cancel()
		if _, ok := ctx.Deadline(); ok {
			t.Error("a negative limit is a limit")
		}
		cause := errors.New("over")
		g.Close(cause)
		if g.Go(func() { t.Error("runs after close") }) || g.Begin() || !g.Closed() {
			t.Error("something begins after close")
		}
		if !errors.Is(context.Cause(ctx), cause) {
			t.Errorf("cause %v", context.Cause(ctx))
		}
		g.Wait()
		if !ended {
			t.Error("Wait does not wait")
		}
	})
}

func TestWithTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := task.WithTimeout(t.Context(), time.Second)
		defer cancel()
		<-ctx.Done()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error(ctx.Err())
		}
		for d, want := range map[time.Duration]error{-1: nil, 0: context.DeadlineExceeded} {
			ctx, cancel := task.WithTimeout(t.Context(), d)
			defer cancel()
			if ctx.Err() != want {
				t.Errorf("a limit of %v: %v", d, ctx.Err())
			}
		}
	})
}
