package remote

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// answer is what a request gets after a time, unless its context ends before.
type answer struct {
	after time.Duration
	body  string
	err   error
	deaf  bool // to the end of the context
}

// answerClient gives answers, in the order of the requests.
type answerClient struct {
	*memory.ReplicaClient
	mu        sync.Mutex
	answers   []answer // guarded by mu
	requests  int      // guarded by mu
	cancelled int      // guarded by mu; requests whose context ended
}

func (c *answerClient) OpenLTXFile(ctx context.Context, _ int, _, _ ltx.TXID, _, _ int64) (io.ReadCloser, error) {
	c.mu.Lock()
	a := c.answers[0]
	c.answers = c.answers[1:]
	c.requests++
	c.mu.Unlock()
	if a.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-time.After(a.after):
		return body(a.body), a.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cancelled++
		return nil, ctx.Err()
	}
}

// hedgeBed is a store that hedges, and what goes on behind it.
type hedgeBed struct {
	*Store
	client *answerClient
	buf    [4]byte // what was fetched
}

// inHedgeBed has fetches that took as long so far.
func inHedgeBed(t *testing.T, credit float64, took []time.Duration, do func(t *testing.T, b *hedgeBed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &hedgeBed{client: new(answerClient)}
		b.Store = &Store{Client: b.client, Hedge: new(Hedge), Tasks: task.NewGroup()}
		for _, d := range took {
			b.Hedge.observe(d)
		}
		b.Hedge.mu.credit = credit
		do(t, b)
	})
}

// fetch reads four bytes with these answers. It returns how long that took.
func (b *hedgeBed) fetch(answers ...answer) (got string, took time.Duration, err error) {
	b.client.answers = answers
	clear(b.buf[:])
	start := time.Now()
	err = b.ReadHedged(context.Background(), view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, b.buf[:], 0)
	return string(b.buf[:]), time.Since(start), err
}

func times(n int, d time.Duration) (all []time.Duration) {
	for range n {
		all = append(all, d)
	}
	return all
}

// between is each millisecond from first to last.
func between(first, last int) (all []time.Duration) {
	for i := first; i <= last; i++ {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	return all
}

func TestHedge_LearnsFirst(t *testing.T) {
	inHedgeBed(t, maxHedgeCredit, nil, func(t *testing.T, b *hedgeBed) {
		for i := range minHedgeSamples {
			d := time.Millisecond
			if i == minHedgeSamples-1 {
				d = time.Hour
			}
			if got, took, err := b.fetch(answer{d, "once", nil, false}); got != "once" || took != d || err != nil {
				t.Fatalf("fetch %d: %q after %v, %v", i, got, took, err)
			}
		}
		if b.Hedges.Load() != 0 || b.client.requests != minHedgeSamples {
			t.Errorf("%d second requests", b.Hedges.Load())
		}
		// Now it knows, and an hour is the longest it saw.
		got, took, err := b.fetch(answer{2 * time.Hour, "slow", nil, false}, answer{time.Second, "fast", nil, false})
		if got != "fast" || took != time.Hour+time.Second || err != nil {
			t.Errorf("%q after %v, %v", got, took, err)
		}
		b.Tasks.Wait()
	})
}

// TestHedge_Delay is longer than 19 of 20 of the last fetches took.
func TestHedge_Delay(t *testing.T) {
	for _, tc := range []struct {
		name string
		took []time.Duration
		want time.Duration
	}{
		{"few", between(1, 16), 16 * time.Millisecond},
		{"twenty", between(1, 20), 20 * time.Millisecond},
		{"many", between(1, 64), 61 * time.Millisecond},
		{"older ones are forgotten", append(times(200, time.Hour), between(1, 64)...), 61 * time.Millisecond},
	} {
		inHedgeBed(t, 0, tc.took, func(t *testing.T, b *hedgeBed) {
			if got, ok := b.Hedge.delay(); got != tc.want || !ok {
				t.Errorf("%s: %v, %v, want %v", tc.name, got, ok, tc.want)
			}
		})
	}
}

// TestHedge_Race has two requests under way. Those before took 100 ms.
func TestHedge_Race(t *testing.T) {
	const ms = time.Millisecond
	denied, broken := fs.ErrPermission, fs.ErrInvalid
	for _, tc := range []struct {
		name          string
		first, second answer
		requests      int
		body          string
		took          time.Duration
		err           error
		cancelled     int
	}{
		{"fast", answer{99 * ms, "1st.", nil, false}, answer{}, 1, "1st.", 99 * ms, nil, 0},
		{"second is faster", answer{time.Hour, "1st.", nil, false}, answer{50 * ms, "2nd.", nil, false}, 2, "2nd.", 150 * ms, nil, 1},
		{"first is faster", answer{130 * ms, "1st.", nil, false}, answer{50 * ms, "2nd.", nil, false}, 2, "1st.", 130 * ms, nil, 1},
		{"first fails, second runs", answer{120 * ms, "", denied, false}, answer{50 * ms, "2nd.", nil, false}, 2, "2nd.", 150 * ms, nil, 0},
		{"second fails, first runs", answer{200 * ms, "1st.", nil, false}, answer{50 * ms, "", denied, false}, 2, "1st.", 200 * ms, nil, 0},
		{"both fail", answer{120 * ms, "", broken, false}, answer{50 * ms, "", denied, false}, 2, "\x00\x00\x00\x00", 150 * ms, denied, 0},
		{"the other answers all the same", answer{200 * ms, "1st.", nil, true}, answer{50 * ms, "2nd.", nil, false}, 2, "2nd.", 150 * ms, nil, 0},
		{"fails at once", answer{50 * ms, "", denied, false}, answer{}, 1, "\x00\x00\x00\x00", 50 * ms, denied, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inHedgeBed(t, 1, times(minHedgeSamples, 100*ms), func(t *testing.T, b *hedgeBed) {
				got, took, err := b.fetch(tc.first, tc.second)
				if got != tc.body || took != tc.took || !errors.Is(err, tc.err) {
					t.Errorf("%q after %v, %v", got, took, err)
				}
				start := time.Now()
				b.Tasks.Wait()
				if d := time.Since(start); d != 0 && !tc.first.deaf {
					t.Errorf("the other goes on for %v", d)
				}
				if string(b.buf[:]) != tc.body {
					t.Errorf("in the end it is %q", b.buf)
				}
				if b.client.requests != tc.requests || b.client.cancelled != tc.cancelled || b.Hedges.Load() != int64(tc.requests-1) {
					t.Errorf("%d requests, %d cancelled, %d counted", b.client.requests, b.client.cancelled, b.Hedges.Load())
				}
				want := minHedgeSamples + 1
				if err != nil {
					want-- // tells nothing of how long they take
				}
				if b.Hedge.mu.n != want {
					t.Errorf("learned from %d fetches, want %d", b.Hedge.mu.n, want)
				}
			})
		})
	}
}

// TestHedge_Share has each fetch take longer than all before it.
func TestHedge_Share(t *testing.T) {
	const fetches = 1000
	slower := func(t *testing.T, b *hedgeBed, n int) {
		for i := range n {
			a := answer{time.Duration(i+2) * time.Second, "slow", nil, false}
			if got, took, err := b.fetch(a, a); got != "slow" || took != a.after || err != nil {
				t.Fatalf("fetch %d: %q after %v, %v", i, got, took, err)
			}
			b.Tasks.Wait()
		}
	}
	inHedgeBed(t, 0, times(minHedgeSamples, time.Millisecond), func(t *testing.T, b *hedgeBed) {
		slower(t, b, fetches)
		if n := b.Hedges.Load(); n < fetches*hedgeShare-1 || n > fetches*hedgeShare {
			t.Errorf("%d second requests", n)
		}
		if b.client.requests != fetches+int(b.Hedges.Load()) {
			t.Errorf("%d requests, %d of them second ones", b.client.requests, b.Hedges.Load())
		}
	})
	// What was not spent in a long time is not spent at once.
	inHedgeBed(t, 0, times(minHedgeSamples, time.Millisecond), func(t *testing.T, b *hedgeBed) {
		for range fetches {
			b.Hedge.observe(time.Millisecond)
		}
		if slower(t, b, 20); b.Hedges.Load() != maxHedgeCredit {
			t.Errorf("%d second requests in a row", b.Hedges.Load())
		}
	})
}
