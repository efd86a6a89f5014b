package litestream

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
)

// pollState is what the poller of a database is doing.
type pollState int32

const (
	pollAsleep  pollState = iota // no goroutine; the next transaction wakes it
	pollRunning                  // a goroutine looks for news at every interval
)

func (s pollState) String() string {
	return [...]string{"asleep", "running"}[s]
}

// fullPollEvery is how many polls without news go by until one looks at all
// levels: files of level 0 may be compacted and deleted before they are seen.
const fullPollEvery = 30

// poller looks for new transactions while the database is in use. There is
// one for each database, and while it sleeps it is no goroutine and no timer.
type poller struct {
	interval  time.Duration // between polls; negative: there are none
	idleAfter time.Duration // from when on it sleeps; negative: it does not
	tasks     *task.Group
	log       *slog.Logger

	// poll looks for news once, at all levels or not.
	poll func(full bool) error

	lastUse  atomic.Int64 // end of the last transaction, or start of the newest, ns since the Unix epoch
	lastPoll atomic.Int64 // last successful poll, likewise; 0 before the first
	fresh    atomic.Int64 // when the view was last known to be the newest, likewise
	state    atomic.Int32 // pollState; changed under mu

	problem atomic.Pointer[connError] // why polls fail, and since when; nil if they do not

	catching atomic.Bool // the first poll since it woke is not over; set under mu

	mu     sync.Mutex    // duty: starting and stopping the goroutine
	caught chan struct{} // guarded by mu; closed after the first poll since it woke
	woke   time.Time     // guarded by mu; when it did last
}

// newPoller returns a sleeping poller of a database that is being opened.
func newPoller(interval, idleAfter time.Duration, tasks *task.Group, log *slog.Logger, poll func(full bool) error) *poller {
	p := &poller{interval: interval, idleAfter: idleAfter, tasks: tasks, log: log, poll: poll}
	p.fresh.Store(time.Now().UnixNano())
	return p
}

// isStale tells whether a poll is due.
func (p *poller) isStale() bool {
	return time.Since(time.Unix(0, p.fresh.Load())) >= p.interval
}

// use notes that a transaction starts. If the poller slept, use wakes it, and
// waits for it to catch up, until one interval after it woke at most. So do
// those that come meanwhile.
func (p *poller) use() {
	p.lastUse.Store(time.Now().UnixNano())
	if p.interval < 0 || pollState(p.state.Load()) != pollAsleep && !p.catching.Load() {
		return
	}
	stale := p.isStale()
	caught, woke := p.wake()
	if caught == nil || !stale {
		return
	}
	timer := time.NewTimer(p.interval - time.Since(woke))
	defer timer.Stop()
	select {
	case <-caught:
	case <-timer.C:
	case <-p.tasks.Context().Done():
	}
}

// done notes that a transaction ends.
func (p *poller) done() { p.lastUse.Store(time.Now().UnixNano()) }

// wake starts the poller if it sleeps. It returns when it last woke, and what
// is closed after its first poll since.
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

// maxPollDelay bounds the delays between polls that fail.
const maxPollDelay = 30 * time.Second

// run polls until the database is closed or not in use.
func (p *poller) run(caught chan struct{}) {
	interval := p.interval
	delay := interval
	quiet := 0 // polls since the last that looked at all levels
	failing := false
	if p.isStale() {
		delay, quiet = 0, fullPollEvery
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-p.tasks.Context().Done():
			p.release(caught)
			return
		}
		start := time.Now()
		quiet++
		full := quiet > fullPollEvery
		err := p.poll(full)
		switch {
		case err == nil:
			if full {
				quiet = 0
			}
			delay = interval
			p.lastPoll.Store(time.Now().UnixNano())
			p.fresh.Store(start.UnixNano())
			p.problem.Store(nil)
			if failing {
				p.log.Info("polling works again")
			}
			failing = false
		case !p.tasks.Closed():
			quiet = fullPollEvery // next time, look at everything
			delay = max(min(2*delay, maxPollDelay), interval)
			since := time.Now().UTC()
			if before := p.problem.Load(); before != nil {
				since = before.Time
			}
			p.problem.Store(&connError{Time: since, Op: "poll", Text: err.Error(), err: err})
			if !failing {
				p.log.Warn("poll failed", "error", err)
			}
			failing = true
		}
		p.release(caught)
		if p.sleep() {
			return
		}
		timer.Reset(delay)
	}
}

// release lets those go on who wait for the first poll.
func (p *poller) release(caught chan struct{}) {
	select {
	case <-caught:
	default:
		p.catching.Store(false)
		close(caught)
	}
}

// sleep ends the poller if no transaction ran for long enough.
func (p *poller) sleep() bool {
	idle := func() bool {
		after := p.idleAfter
		return after >= 0 && time.Since(time.Unix(0, p.lastUse.Load())) >= after
	}
	if !idle() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Store(int32(pollAsleep))
	// A transaction that started before it could see this counts on us.
	if !idle() {
		p.state.Store(int32(pollRunning))
		return false
	}
	return true
}

// poll publishes a new view if there are new transactions. They are in level
// 0, where one listing finds them, unless they were compacted already. The
// listing starts at the newest transaction that is known, whose file tells
// whether it is still the same replica.
func (x *index) poll(full bool) (err error) {
	defer guard(x.log, "poll", &err)
	ctx, cancel := x.tasks.WithTimeout(x.readTimeout)
	defer cancel()
	if x.writer.isWriting() {
		return nil // whoever writes knows what is new
	}
	if cur := x.current.Load(); !full && cur.last != nil {
		files, err := x.store.list(ctx, 0, cur.txid, false)
		if err != nil {
			return err
		}
		news := len(files) > 0 && files[len(files)-1].MaxTXID > cur.txid
		known := len(files) > 0 && keyOf(files[0]) == cur.last.key()
		switch {
		case known && !cur.last.isListedAs(files[0]): // not the replica that it was
		case !known && cur.last.level == 0 && !cur.last.gone.Load(): // deleted, maybe with all others
		case !known && len(files) > 0 && !news && !x.isSeen(cur.epoch, files[0]): // maybe another's
		case !news:
			return nil
		case known:
			err = x.advanceBy(ctx, cur, cur.txid, files)
			var missing *MissingError
			if !errors.As(err, &missing) && !isMissing(err) && !errors.Is(err, errOtherPageSize) {
				return unlessWriting(err)
			}
		}
	}
	seen := x.refresh(ctx)
	if seen.moves != nil {
		// It concerns pages, not news, and is tried again when one is read.
		x.log.Warn("cannot move pages away from deleted files", "error", seen.moves)
	}
	return unlessWriting(seen.news)
}

// unlessWriting leaves out that somebody of this process has begun to write: what is
// new is for the next sync to notice.
func unlessWriting(err error) error {
	if errors.Is(err, errWriting) {
		return nil
	}
	return err
}

// lag returns the time since the last successful poll; false before the first.
func (p *poller) lag() (time.Duration, bool) {
	last := p.lastPoll.Load()
	if last == 0 {
		return 0, false
	}
	return max(0, time.Since(time.Unix(0, last))), true
}
