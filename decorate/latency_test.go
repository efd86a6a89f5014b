package decorate_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// took returns how long f takes.
func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// wantTook checks a time that is exact but for rounding to nanoseconds.
func wantTook(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if d := (got - want).Abs(); d > time.Microsecond {
		t.Errorf("%s took %s, want %s", what, got, want)
	}
}

func TestLatency_PerRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const latency = 30 * time.Millisecond
		ctx := t.Context()
		c := decorate.NewLatency(initialized{memory.NewReplicaClient()}, decorate.Latency{PerRequest: latency})
		all := decorate.NewLatency(memory.NewReplicaClient(), decorate.Latency{PerRequest: latency})
		body := encode(t, 1, 1)
		for name, call := range map[string]func(){
			"init":     func() { _ = c.Init(ctx) },
			"list":     func() { _, _ = list(ctx, c, 0, 0) },
			"list all": func() { _, _ = all.AllLTXFiles(ctx, false) },
			"read":     func() { _, _ = read(ctx, c, 0, 1, 1, 0, 0) },
			"write":    func() { _, _ = c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(body)) },
			"create":   func() { _, _ = all.CreateLTXFile(ctx, 0, 1, 1, bytes.NewReader(body)) },
			"delete":   func() { _ = c.DeleteLTXFiles(ctx, nil) },
		} {
			wantTook(t, name, took(call), latency)
		}
	})
}

func TestLatency_Rates(t *testing.T) {
	const size = 50_000
	for _, tt := range []struct {
		name    string
		latency decorate.Latency
		streams int
		want    time.Duration
	}{
		{"none", decorate.Latency{}, 4, 0},
		{"a stream", decorate.Latency{BytesPerSecond: 100_000}, 1, 500 * time.Millisecond},
		{"streams by themselves", decorate.Latency{BytesPerSecond: 100_000}, 4, 500 * time.Millisecond},
		{"streams together", decorate.Latency{TotalBytesPerSecond: 100_000}, 4, 2 * time.Second},
		{"the slower of both, stream", decorate.Latency{BytesPerSecond: 100_000, TotalBytesPerSecond: 1e6}, 4, 500 * time.Millisecond},
		{"the slower of both, total", decorate.Latency{BytesPerSecond: 100_000, TotalBytesPerSecond: 200_000}, 4, time.Second},
		{"after the latency", decorate.Latency{PerRequest: time.Second, BytesPerSecond: 100_000}, 2, 1500 * time.Millisecond},
		{"not a number", decorate.Latency{BytesPerSecond: math.NaN(), TotalBytesPerSecond: -1}, 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := memory.NewReplicaClient()
				body := write(t, store, 0, 1, 1)
				c := decorate.NewLatency(store, tt.latency)

				var reads []func()
				for range tt.streams {
					reads = append(reads, func() {
						got, err := read(t.Context(), c, 0, 1, 1, 0, size)
						if err != nil || !bytes.Equal(got, body[:size]) {
							t.Errorf("got %d bytes and error %v", len(got), err)
						}
					})
				}
				wantTook(t, "reading", took(func() { concurrently(reads...) }), tt.want)
			})
		})
	}
}

func TestLatency_PacesWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := decorate.NewLatency(memory.NewReplicaClient(), decorate.Latency{BytesPerSecond: 1000})
		body := encode(t, 1, 1)
		want := time.Duration(len(body)) * time.Millisecond
		wantTook(t, "writing", took(func() { write(t, c, 0, 1, 1) }), want)
		wantTook(t, "creating", took(func() {
			must[*ltx.FileInfo](t)(c.CreateLTXFile(t.Context(), 1, 1, 1, bytes.NewReader(body)))
		}), want)
	})
}

// A reader that is slow itself is not slowed down further, nor does it save up
// for later.
func TestLatency_SlowConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReplicaClient()
		write(t, store, 0, 1, 1)
		c := decorate.NewLatency(store, decorate.Latency{BytesPerSecond: 1000})
		r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		p := make([]byte, 1000)
		must[int](t)(r.Read(p))
		time.Sleep(time.Hour)
		got := took(func() { must[int](t)(r.Read(p)) })
		if got < 900*time.Millisecond || got > time.Second {
			t.Errorf("1000 bytes after an hour took %s, want about %s", got, time.Second)
		}
	})
}

func TestLatency_Context(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memory.NewReplicaClient()
		write(t, store, 0, 1, 1)
		within := func(d time.Duration, l decorate.Latency, call func(context.Context, replica.Client) error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			got := took(func() {
				if err := call(ctx, decorate.NewLatency(store, l)); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got error %v, want context.DeadlineExceeded", err)
				}
			})
			wantTook(t, "the call", got, d)
		}
		slow := decorate.Latency{PerRequest: time.Hour}
		within(time.Second, slow, func(ctx context.Context, c replica.Client) error {
			_, err := list(ctx, c, 0, 0)
			return err
		})
		trickle := decorate.Latency{BytesPerSecond: 1e-300}
		within(time.Second, trickle, func(ctx context.Context, c replica.Client) error {
			_, err := read(ctx, c, 0, 1, 1, 0, 0)
			return err
		})
		within(time.Second, trickle, func(ctx context.Context, c replica.Client) error {
			_, err := c.WriteLTXFile(ctx, 0, 2, 2, bytes.NewReader(encode(t, 2, 2)))
			return err
		})
		if infos, err := list(t.Context(), store, 0, 2); err != nil || len(infos) != 0 {
			t.Errorf("%d files after a write that was cut off (error %v), want none", len(infos), err)
		}
	})
}

// Jitter adds to the latency, differently each time, and alike for one seed.
func TestLatency_Jitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const least, jitter, calls = time.Second, 100 * time.Millisecond, 50
		times := func(seed uint64) (times [calls]time.Duration) {
			c := decorate.NewLatency(memory.NewReplicaClient(), decorate.Latency{PerRequest: least, Jitter: jitter, Seed: seed})
			for i := range times {
				times[i] = took(func() { _ = c.DeleteLTXFiles(t.Context(), nil) })
			}
			return times
		}
		first := times(1)
		distinct := map[time.Duration]bool{}
		for _, d := range first {
			distinct[d] = true
			if d < least || d >= least+jitter {
				t.Errorf("a call took %s, want from %s to %s", d, least, least+jitter)
			}
		}
		if len(distinct) < calls/2 {
			t.Errorf("only %d different times in %d calls", len(distinct), calls)
		}
		if times(1) != first {
			t.Error("the same seed gives other times")
		}
		if times(2) == first {
			t.Error("another seed gives the same times")
		}
	})
}
