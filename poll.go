package litestream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/outcome"
	"github.com/ltxvfs/litestream/internal/task"
)

// pollState is the state of a poller.
type pollState int32

const (
	pollAsleep  pollState = iota // no goroutine runs; the next transaction starts one
	pollRunning                  // a goroutine polls at every interval
)

func (s pollState) String() string {
	return [...]string{"asleep", "running"}[s]
}

// poller looks for new transactions while the database is in use. Each database
// has one. While it sleeps, it takes neither a goroutine nor a timer.
type poller struct {
	interval  time.Duration // between polls; negative disables polling
	idleAfter time.Duration // time without a transaction after which it sleeps; negative: never
	tasks     *task.Group
	log       *slog.Logger

	// poll looks for new transactions once. If full is true, it lists all
	// levels; it does so at times in any case. errs.ErrWriting means that this
	// process writes, and so knows the newest transaction.
	poll func(full bool) error

	host hostPolls

	lastUse atomic.Int64 // end of the last transaction or start of the newest, in nanoseconds since the Unix epoch
	fresh   atomic.Int64 // when the view was last known to be the newest, in the same unit
	state   atomic.Int32 // pollState; changed under mu

	polls outcome.Record

	believed int // polls of other processes since this one has looked; used by run only

	// suspended is set when the last connection has left. Then no poll begins until
	// the next transaction.
	suspended atomic.Bool

	catching atomic.Bool // true until the first poll after a wake-up ends; set under mu

	mu    sync.Mutex    // guards the start and the stop of the goroutine, and the fields below
	early chan struct{} // holds one if the next poll is to begin now

	news task.Bell // rings when another process knows of newer transactions

	caught chan struct{} // guarded by mu; closed after the first poll since the last wake-up
	woke   time.Time     // guarded by mu; time of the last wake-up
}

// hostPolls is what the processes of a host that share a local file tell each
// other of their polls. Hydration provides it.
type hostPolls interface {
	// IsNewest reports whether another process has found within a time that the
	// replica has no newer transaction than the current view, and when.
	IsNewest(within time.Duration) (at time.Time, ok bool)

	// Polled tells the other processes that the replica had no newer transaction
	// than the current view at a time.
	Polled(at time.Time)
}

// newPoller returns a sleeping poller for a database that is being opened.
func newPoller(interval, idleAfter time.Duration, tasks *task.Group, log *slog.Logger, poll func(full bool) error, host hostPolls) *poller {
	p := &poller{interval: interval, idleAfter: idleAfter, tasks: tasks, log: log, poll: poll, host: host}
	p.early = make(chan struct{}, 1)
	p.fresh.Store(time.Now().UnixNano())
	return p
}

// isStale reports whether a poll is due. If the clock was set back since the last one,
// nothing tells how long ago that was.
func (p *poller) isStale() bool {
	age := time.Since(time.Unix(0, p.fresh.Load()))
	return age < 0 || age >= p.interval
}

// use records that a transaction starts. If the poller sleeps, use wakes it and
// waits until the first poll ends, for one interval after the wake-up at most.
// Transactions that start during that time wait as well. The context of the wait
// comes from waiting. If the statement is interrupted meanwhile, use returns
// ErrInterrupted.
func (p *poller) use(waiting func(time.Duration) (context.Context, context.CancelFunc)) error {
	p.lastUse.Store(time.Now().UnixNano())
	p.suspended.Store(false)
	if p.interval < 0 || pollState(p.state.Load()) != pollAsleep && !p.catching.Load() {
		return nil
	}
	stale := p.isStale()
	caught, woke := p.wake()
	if caught == nil || !stale {
		return nil
	}
	ctx, cancel := waiting(max(0, p.interval-time.Since(woke)))
	defer cancel()
	select {
	case <-caught:
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), ErrInterrupted) {
			return ErrInterrupted
		}
	}
	return nil
}

// suspend ends polling until the next transaction.
func (p *poller) suspend() { p.suspended.Store(true) }

// useElsewhere records that another process, for which this one polls, or somebody
// who looks at the counters has used the database.
func (p *poller) useElsewhere() {
	p.lastUse.Store(time.Now().UnixNano())
	p.suspended.Store(false)
	p.wake()
}

// hurry makes the next poll begin now, unless the last one has failed, because
// another process knows of newer transactions. Goroutines that wait for a
// transaction poll by themselves, also while the poller sleeps.
func (p *poller) hurry() {
	p.news.Ring()
	if !p.polls.Last().IsFailing() {
		task.Signal(p.early)
	}
}

// done records that a transaction has ended.
func (p *poller) done() { p.lastUse.Store(time.Now().UnixNano()) }

// wake starts the poller if it sleeps. It returns the time of the last wake-up
// and a channel that is closed after the first poll since then.
func (p *poller) wake() (caught <-chan struct{}, woke time.Time) {
	if p.interval < 0 {
		return nil, time.Time{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if pollState(p.state.Load()) == pollAsleep && p.tasks.Begin() {
		p.state.Store(int32(pollRunning))
		caught := make(chan struct{})
		p.caught, p.woke = caught, time.Now()
		p.catching.Store(true)
		go func() {
			defer p.tasks.End()
			p.run(caught)
		}()
	}
	return p.caught, p.woke
}

// maxBelieved is how many polls of other processes are believed one after the other.
// Another process with the same local file may follow another replica, which begins
// alike and does not go on.
const maxBelieved = 60

// maxPollDelay limits the delay between polls that fail.
const maxPollDelay = 30 * time.Second

// run polls until the database is closed or is not in use any more.
func (p *poller) run(caught chan struct{}) {
	interval := p.interval
	delay := interval
	full := p.isStale() // the next poll lists all levels
	if full {
		delay = 0
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.early:
		case <-p.tasks.Context().Done():
			p.release(caught)
			return
		}
		if p.suspended.Load() {
			p.release(caught)
			if p.sleep() {
				return
			}
		}
		at, err := p.lookOrAsk(full)
		full = err != nil
		switch {
		case err == nil:
			delay = interval
			p.fresh.Store(at.UnixNano())
		case !p.tasks.Closed():
			delay = max(min(2*delay, maxPollDelay), interval)
		}
		p.release(caught)
		if p.sleep() {
			return
		}
		timer.Reset(delay)
	}
}

// lookOrAsk is look, unless another process of the host has polled just now. It
// returns when the view was known to be the newest.
func (p *poller) lookOrAsk(full bool) (at time.Time, err error) {
	// A process that polls for another one does so an interval after it has
	// finished the poll before.
	at, ok := p.host.IsNewest(p.interval + p.interval/2 + 250*time.Millisecond)
	if ok && p.believed < maxBelieved {
		p.believed++
		p.polls.Note(nil)
		return at, nil
	}
	p.believed = 0
	at = time.Now()
	if err = p.look(full); err == nil {
		p.host.Polled(at)
	}
	return at, err
}

// look polls once, and records how that ended.
func (p *poller) look(full bool) error {
	err := p.poll(full)
	if errors.Is(err, errs.ErrWriting) {
		if err = nil; p.polls.Last().IsFailing() {
			return nil // storage may not have been asked
		}
	}
	switch {
	case err != nil && p.tasks.Closed():
	case !p.polls.Note(err):
	case err != nil:
		p.log.Warn("poll failed", "error", err)
	default:
		p.log.Info("polling works again")
	}
	return err
}

// release wakes the transactions that wait for the first poll.
func (p *poller) release(caught chan struct{}) {
	select {
	case <-caught:
	default:
		p.catching.Store(false)
		close(caught)
	}
}

// sleep stops the poller if it is suspended or no transaction ran for idleAfter,
// and reports whether it did.
func (p *poller) sleep() bool {
	if !p.isIdle() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Store(int32(pollAsleep))
	// A transaction that started before this state was visible did not wake the
	// poller. Check again for it.
	if !p.isIdle() {
		p.state.Store(int32(pollRunning))
		return false
	}
	return true
}

// isIdle reports whether the poller is suspended or no transaction ran for idleAfter.
func (p *poller) isIdle() bool {
	switch {
	case p.suspended.Load():
		return true
	case p.idleAfter < 0:
		return false
	}
	last := p.lastUse.Load()
	age := time.Since(time.Unix(0, last))
	if age < 0 { // the clock was set back
		p.lastUse.CompareAndSwap(last, time.Now().UnixNano())
	}
	return age >= p.idleAfter
}

// poll publishes a new view if there are new transactions. If full is true, or it
// is time for that, it lists all levels. Otherwise it looks for the next file of
// level 0.
func (x *index) poll(full bool) (err error) {
	defer task.Guard(x.log, "poll", &err)
	if x.writer.IsWriting() {
		return errs.ErrWriting
	}
	cur := x.Current.Load()
	defer func() {
		now := x.Current.Load()
		x.following.end(int64(now.TXID)-int64(cur.TXID), now.Epoch != cur.Epoch)
	}()
	byName, named := x.followsByName(cur), make(namedFiles)
	if !x.following.begin(byName) && !full && cur.Last != nil {
		ctx, cancel := x.tasks.WithTimeout(x.readTimeout)
		defer cancel()
		if settled, err := x.followNext(ctx, cur, byName, named); settled {
			return err
		}
	}
	seen := x.refreshWith(x.tasks.Context(), named) // has a time limit of its own, whose error says what failed
	if seen.moves != nil {
		// The problem concerns locations of pages, not news. Reading one of
		// these pages tries again.
		x.log.Warn("cannot move pages away from deleted files", "error", seen.moves)
	}
	return seen.news
}

// lag returns the time since the last successful poll. It returns false before
// the first one.
func (p *poller) lag() (time.Duration, bool) {
	last := p.polls.Last().Success
	if last.IsZero() {
		return 0, false
	}
	return max(0, time.Since(last)), true
}
