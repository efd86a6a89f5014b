package write

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
)

// Write mode is switched by one caller at a time, and the others give up with their
// contexts.
func TestModeSwitch_Turn(t *testing.T) {
	inBed(t, func(b *bed) {
		done, err := b.take(b.t.Context())
		if err != nil {
			b.t.Fatal(err)
		}
		for name, do := range map[string]func(context.Context) error{
			"on": func(ctx context.Context) error { return b.Enable(ctx, false) }, "off": b.Disable,
		} {
			ctx, cancel := context.WithTimeout(b.t.Context(), time.Second)
			if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "turn write mode "+name) {
				b.t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
		if done(); b.mode() != modeOn {
			b.t.Errorf("it is %s", b.mode())
		}
	})
}

// Close waits for uploads as long as one succeeds now and then, and keeps what is not
// uploaded.
func TestClose_Patience(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1)
		b.client.refuse(func(string) error { return fs.ErrPermission })
		closed := make(chan error, 1)
		go func() { closed <- b.Writer.Close(b.t.Context(), time.Minute) }()
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		if len(closed) > 0 {
			b.t.Error("it does not wait")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if len(closed) == 0 {
			b.t.Fatal("it waits longer")
		}
		if err := <-closed; err == nil || !strings.Contains(err.Error(), "nothing was uploaded for 1m0s") || !strings.Contains(err.Error(), "kept in "+b.path+",") {
			b.t.Error(err)
		}
		b.client.refuse(nil)
		if err := b.restart(); err != nil || b.Status().Counts.Recovered != 1 {
			b.t.Errorf("restart: %v, %+v", err, b.Status())
		}
		b.sync()
		b.want("0/1-1")
		b.wantPages()
	})
	inBed(t, func(b *bed) {
		b.client.refuse(func(string) error { return fs.ErrPermission })
		b.Opts.ReadTimeout = -1
		for range 2 { // a segment each
			b.commit(1)
			time.Sleep(2 * b.Opts.SyncInterval)
		}
		b.client.refuse(func(request string) error {
			if strings.HasPrefix(request, "create") {
				time.Sleep(50 * time.Second)
			}
			return nil
		})
		start := time.Now()
		if err := b.Writer.Close(b.t.Context(), time.Minute); err != nil || time.Since(start) < 100*time.Second {
			b.t.Errorf("after %s: %v", time.Since(start), err)
		}
		b.want("0/1-1 0/2-2")
		if files := b.local(); files != "" {
			b.t.Errorf("it leaves %s", files)
		}
	})
}

// Close does not wait for a look for missing files.
func TestClose_InDoubt(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1)
		b.sync()
		b.client.refuse(func(string) error { return fs.ErrPermission })
		b.Suspect()
		synctest.Wait()
		start := time.Now()
		if err := b.Writer.Close(b.t.Context(), time.Hour); err != nil || time.Since(start) > 0 {
			b.t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

// A commit of several databases that is half done when the database is closed is
// replayed, as after a crash: the other databases may have been committed.
func TestClose_Several(t *testing.T) {
	for _, isNew := range []bool{true, false} { // the commit begins a segment
		inBed(t, func(b *bed) {
			b.commit(1, 2)
			if isNew {
				b.rotate()
			}
			h, tx, c := b.sealSeveral()
			b.stop()
			if err := b.Finish(h, tx, []*LocalCommit{c}); !errors.Is(err, errs.ErrClosed) {
				b.t.Errorf("finish: %v", err)
			}
			b.TakeBack([]*LocalCommit{c})
			b.End(h)
			b.start()
			if err := b.Enable(b.t.Context(), false); err != nil || b.Status().Counts.Recovered != 2 {
				b.t.Errorf("in a new segment: %v: %v, %+v, %s", isNew, err, b.Status(), b.log)
			}
			b.sync()
			b.wantPages()
		})
	}
}
