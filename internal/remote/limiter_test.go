package remote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// isGranted reports whether it is a ticket's turn.
func isGranted(t *Ticket) bool {
	select {
	case <-t.granted:
		return true
	default:
		return false
	}
}

// enqueueAll asks for a place for each of the classes that letters name.
func enqueueAll(l *Limiter, letters string) (tickets []*Ticket) {
	for _, c := range letters {
		tickets = append(tickets, l.Enqueue(Class(strings.IndexRune("fls", c))))
	}
	return tickets
}

// turns gives places back, one after the other, and returns in which order
// the tickets get theirs.
func turns(l *Limiter, tickets []*Ticket) (order []int) {
	left := slices.Clone(tickets)
	for {
		i := slices.IndexFunc(left, func(t *Ticket) bool { return t != nil && isGranted(t) })
		if i < 0 {
			return order
		}
		order = append(order, i)
		l.Done(left[i])
		left[i] = nil
	}
}

func countGranted(tickets []*Ticket) (n int) {
	for _, t := range tickets {
		if isGranted(t) {
			n++
		}
	}
	return n
}

func wantIdle(t testing.TB, l *Limiter) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for class := range numClasses {
		if l.mu.running[class] != 0 || len(l.mu.waiting[class]) != 0 {
			t.Errorf("class %d: %d running, %d waiting", class, l.mu.running[class], len(l.mu.waiting[class]))
		}
	}
}

// TestLimiter_Bound has many goroutines make requests of all classes, some of
// which are promoted, and some that no goroutine waits for in the end.
func TestLimiter_Bound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 8
		l := NewLimiter(limit)
		var mu sync.Mutex
		running, most := 0, 0
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				for n := range 10 {
					ticket := l.Enqueue(Class(i % int(numClasses)))
					if (i+n)%5 == 0 {
						l.Promote(ticket)
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+(i+n)%7*20)*time.Millisecond)
					if err := l.Wait(ctx, ticket); err == nil {
						mu.Lock()
						running++
						most = max(most, running)
						mu.Unlock()
						time.Sleep(time.Millisecond)
						mu.Lock()
						running--
						mu.Unlock()
						l.Done(ticket)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		if most != limit {
			t.Errorf("%d requests at a time, want %d", most, limit)
		}
		wantIdle(t, l)
	})
}

func TestLimiter_Order(t *testing.T) {
	for waiting, want := range map[string][]int{
		"slfslf": {2, 5, 1, 4, 0, 3},
		"ffff":   {0, 1, 2, 3},
		"llll":   {0, 1, 2, 3},
		"ssss":   {0, 1, 2, 3},
	} {
		l := NewLimiter(1)
		held := l.Enqueue(Foreground)
		tickets := enqueueAll(l, waiting)
		if n := countGranted(tickets); n != 0 {
			t.Fatalf("%s: %d granted", waiting, n)
		}
		l.Done(held)
		if order := turns(l, tickets); !slices.Equal(order, want) {
			t.Errorf("%s: order %v, want %v", waiting, order, want)
		}
		wantIdle(t, l)
	}
}

// TestLimiter_LastQuarter checks that prefetch never uses the last quarter of
// the requests, whichever requests use the rest.
func TestLimiter_LastQuarter(t *testing.T) {
	for limit, most := range map[int]int{1: 1, 2: 1, 3: 2, 4: 3, 5: 3, 8: 6, 128: 96} {
		l := NewLimiter(limit)
		ahead := enqueueAll(l, strings.Repeat("s", limit+1))
		if n := countGranted(ahead); n != most {
			t.Errorf("limit %d: %d of read-ahead at a time, want %d", limit, n, most)
		}
		waited := enqueueAll(l, strings.Repeat("fl", limit))
		if n := countGranted(waited); n != limit-most {
			t.Errorf("limit %d: %d places left, want %d", limit, n, limit-most)
		}
		turns(l, append(ahead, waited...))
		wantIdle(t, l)

		waited = enqueueAll(l, strings.Repeat("f", most))
		ahead = enqueueAll(l, "s")
		if isGranted(ahead[0]) {
			t.Errorf("limit %d: read-ahead runs beside %d others", limit, most)
		}
		turns(l, append(waited, ahead...))
		wantIdle(t, l)
	}
}

func TestLimiter_Promote(t *testing.T) {
	l := NewLimiter(1)
	held := l.Enqueue(Foreground)
	tickets := enqueueAll(l, "sslf")
	l.Promote(tickets[1])
	l.Promote(held) // runs already
	l.Done(held)
	l.Promote(held) // has ended
	if got, want := turns(l, tickets), []int{3, 1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
	wantIdle(t, l)

	// It goes at once if there is a place that read-ahead may not have.
	l = NewLimiter(4)
	tickets = enqueueAll(l, "ssss")
	if isGranted(tickets[3]) {
		t.Error("read-ahead has the last place")
	}
	if l.Promote(tickets[3]); !isGranted(tickets[3]) {
		t.Error("it waits although there is a place")
	}
	turns(l, tickets)
	wantIdle(t, l)
	l.Promote(nil) // of a fetch without a ticket
}

// TestLimiter_PromoteAgain has others come to wait for the same request. It
// keeps its place.
func TestLimiter_PromoteAgain(t *testing.T) {
	l := NewLimiter(1)
	held := l.Enqueue(Foreground)
	tickets := enqueueAll(l, "sff")
	l.Promote(tickets[0])
	l.Promote(tickets[1])
	l.Done(held)
	if got, want := turns(l, tickets), []int{1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestLimiter_Cancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1)
		held := l.Enqueue(Foreground)
		ctx, cancel := context.WithCancel(t.Context())
		first, second := l.Enqueue(Foreground), l.Enqueue(Speculative)
		got := make(chan error, 1)
		go func() { got <- l.Wait(ctx, first) }()
		synctest.Wait()
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		l.Done(held)
		if isGranted(first) || !isGranted(second) {
			t.Error("the place goes to one that was given up")
		}
		l.Done(second)
		wantIdle(t, l)
	})
}

// lateContext is done as soon as a goroutine begins to wait for that. It calls fn
// then.
type lateContext struct {
	context.Context
	fn func()
}

func (c lateContext) Done() <-chan struct{} {
	c.fn()
	return c.Context.Done()
}

// TestLimiter_CancelAtGrant has the turn come at the moment of the end.
func TestLimiter_CancelAtGrant(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	granted := 0
	for range 100 {
		l := NewLimiter(1)
		held := l.Enqueue(Foreground)
		ticket := l.Enqueue(Speculative)
		if err := l.Wait(lateContext{ctx, func() { l.Done(held) }}, ticket); err == nil {
			granted++
			l.Done(ticket)
		}
		wantIdle(t, l)
	}
	if granted == 0 || granted == 100 {
		t.Errorf("granted %d times of 100", granted)
	}
}

func TestLimiter_None(t *testing.T) {
	l := NewLimiter(-1)
	if l != nil {
		t.Fatal("a negative limit is one")
	}
	for range 1000 {
		ticket := l.Enqueue(Speculative)
		if err := l.Wait(t.Context(), ticket); err != nil {
			t.Fatal(err)
		}
		l.Promote(ticket)
	}
	l.Done(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Wait(ctx, l.Enqueue(Foreground)); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	if l := NewLimiter(0); l == nil || l.limit != 1 {
		t.Error("a limit of 0 is none")
	}
}

// TestLimiter_Shares says how many requests of one class run at a time, if no others
// do. Every class has a place, and none has more than the limit.
func TestLimiter_Shares(t *testing.T) {
	for limit, want := range map[int][numClasses]int{
		1: {1, 1, 1, 1}, 2: {2, 1, 1, 1}, 3: {3, 2, 2, 1}, 4: {4, 3, 3, 2}, 32: {32, 31, 24, 16}, 64: {64, 62, 48, 32},
	} {
		for class := range numClasses {
			l := NewLimiter(limit)
			for range 2 * limit {
				l.Enqueue(class)
			}
			if running, waiting := l.Load(); running != want[class] || running+waiting != 2*limit {
				t.Errorf("of %d places class %d takes %d, want %d", limit, class, running, want[class])
			}
		}
	}
}

// TestLimiter_AwaitQuiet waits as hydration does to give way to queries.
func TestLimiter_AwaitQuiet(t *testing.T) {
	const patience = 200 * time.Millisecond
	l := NewLimiter(16)
	synctest.Test(t, func(t *testing.T) {
		waited := func() time.Duration {
			start := time.Now()
			l.AwaitQuiet(t.Context(), patience)
			return time.Since(start)
		}
		if d := waited(); d != 0 {
			t.Errorf("waits %v for nothing", d)
		}
		for _, class := range []Class{Foreground, Loading, Speculative} {
			ticket := l.Enqueue(class)
			if d := waited(); d != patience {
				t.Errorf("waits %v for class %d", d, class)
			}
			go func() {
				time.Sleep(patience / 2)
				l.Done(ticket)
			}()
			if d := waited(); d != patience/2 {
				t.Errorf("waits %v for a request of class %d that ends", d, class)
			}
		}
		var hydrations []*Ticket
		for range 16 {
			hydrations = append(hydrations, l.Enqueue(Hydrating))
		}
		if n, _ := l.Load(); n != 8 {
			t.Errorf("hydration has %d of 16 places", n)
		}
		if d := waited(); d != 0 {
			t.Errorf("waits %v for hydration", d)
		}
		for _, ticket := range hydrations {
			l.Done(ticket)
		}
	})
}
