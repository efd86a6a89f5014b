package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// slowClient is a replica in memory whose listings and reads take a while, or
// fail.
type slowClient struct {
	*memory.ReplicaClient
	delay atomic.Int64 // in ns
	down  atomic.Bool
	lists atomic.Int64
	reads atomic.Int64
}

// requests returns the number of requests so far.
func (c *slowClient) requests() int64 { return c.lists.Load() + c.reads.Load() }

func (c *slowClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	c.lists.Add(1)
	if err := c.answer(ctx); err != nil {
		return nil, err
	}
	return c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
}

func (c *slowClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	c.lists.Add(1)
	if err := c.answer(ctx); err != nil {
		return nil, err
	}
	return c.ReplicaClient.AllLTXFiles(ctx, useMetadata)
}

func (c *slowClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c.reads.Add(1)
	if err := c.answer(ctx); err != nil {
		return nil, err
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

func (c *slowClient) answer(ctx context.Context) error {
	select {
	case <-time.After(time.Duration(c.delay.Load())):
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.down.Load() {
		return errors.New("storage is down")
	}
	return nil
}

// inBubble opens a database of a few transactions under a simulated clock.
func inBubble(t *testing.T, opts Options, do func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database)) {
	client := &slowClient{ReplicaClient: memory.NewReplicaClient()}
	client.delay.Store(int64(20 * time.Millisecond))
	p := ltxtest.New(t, client.ReplicaClient, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x)")
	synctest.Test(t, func(t *testing.T) {
		opts.Logger = slog.New(slog.DiscardHandler)
		db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := db.close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		do(t, p, client, db)
	})
}

// useDB starts a transaction as a connection without interrupts does.
func useDB(db *database) { _ = db.poller.use(db.tasks.WithTimeout) }

func TestPoller_SleepsAndWakes(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		state := func() pollState { return pollState(db.poller.state.Load()) }
		if state() != pollAsleep {
			t.Fatalf("poller is %v before the first transaction", state())
		}
		useDB(db)
		db.poller.done()
		if state() != pollRunning {
			t.Fatalf("poller is %v", state())
		}
		if _, ok := db.poller.lag(); ok {
			t.Error("there is a lag before the first poll")
		}
		want := p.Exec("INSERT INTO t VALUES (1)")
		time.Sleep(DefaultPollInterval + 2*time.Duration(client.delay.Load()))
		synctest.Wait()
		if got := db.Current.Load().TXID; got != want {
			t.Errorf("a second later the view is %s, want %s", got, want)
		}
		if lag, ok := db.poller.lag(); !ok || lag != 0 {
			t.Errorf("lag is %v, %v", lag, ok)
		}

		// No connection reads, so the poller falls asleep and makes no
		// requests.
		time.Sleep(DefaultPollIdleAfter + time.Second)
		if state() != pollAsleep {
			t.Fatalf("poller is %v after a minute", state())
		}
		requests := client.requests()
		want = p.Exec("INSERT INTO t VALUES (2)")
		time.Sleep(24 * time.Hour)
		if n := client.requests() - requests; n != 0 {
			t.Errorf("%d requests while asleep", n)
		}
		if lag, _ := db.poller.lag(); lag < 24*time.Hour {
			t.Errorf("lag is %v after a day", lag)
		}

		// The next transaction sees the changes made meanwhile.
		start := time.Now()
		useDB(db)
		if got := db.Current.Load().TXID; got != want {
			t.Errorf("after a sleep the view is %s, want %s", got, want)
		}
		if d := time.Since(start); d > DefaultPollInterval {
			t.Errorf("waited %v", d)
		}
		db.poller.done()
	})
}

// TestPoller_WaitsOneIntervalAtMost wakes the poller while storage hardly
// answers.
func TestPoller_WaitsOneIntervalAtMost(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		useDB(db)
		time.Sleep(2 * DefaultPollIdleAfter)
		client.delay.Store(int64(10 * time.Second))
		start := time.Now()
		useDB(db)
		if d := time.Since(start); d != DefaultPollInterval {
			t.Errorf("waited %v, want %v", d, DefaultPollInterval)
		}
		start = time.Now()
		useDB(db) // while the first wake-up is still in flight
		if d := time.Since(start); d != 0 {
			t.Errorf("the second transaction waited %v", d)
		}
	})
}

// TestPoller_OnlyOne wakes the poller many times at once. Only one goroutine
// runs.
func TestPoller_OnlyOne(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		for range 20 {
			db.poller.wake()
		}
		requests := client.requests()
		time.Sleep(DefaultPollInterval + time.Millisecond)
		if n := client.requests() - requests; n != 1 {
			t.Errorf("%d polls at a time, want 1", n)
		}
	})
}

// The poller does not sleep while transactions run that last for nearly as long as
// PollIdleAfter, nor for that time after the end of one.
func TestPoller_LongTransactionsCount(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		for range 10 {
			useDB(db)
			time.Sleep(DefaultPollIdleAfter - time.Second)
			db.poller.done()
			if state := pollState(db.poller.state.Load()); state != pollRunning {
				t.Fatalf("poller is %v", state)
			}
			time.Sleep(DefaultPollIdleAfter - time.Second)
			if state := pollState(db.poller.state.Load()); state != pollRunning {
				t.Fatalf("nearly a minute after the transaction, the poller is %v", state)
			}
		}
	})
}

func TestPoller_RecoversFromFailure(t *testing.T) {
	inBubble(t, Options{PollIdleAfter: -1}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		useDB(db)
		time.Sleep(3 * time.Second)
		client.down.Store(true)
		time.Sleep(10 * time.Minute)
		if lag, ok := db.poller.lag(); !ok || lag < 9*time.Minute {
			t.Errorf("lag is %v", lag)
		}
		// The primary compacts and deletes while no poll succeeds.
		first := p.TXID() + 1
		for i := range 5 {
			p.Exec(fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
		}
		p.Compact(1, first, p.TXID())
		p.Compact(SnapshotLevel, 1, first-1)
		p.DeleteLevelBelow(0, p.TXID()+1)
		client.down.Store(false)
		time.Sleep(DefaultReadTimeout + 5*time.Second)
		if got := db.Current.Load().TXID; got != p.TXID() {
			t.Errorf("the view is %s, want %s", got, p.TXID())
		}
		if lag, _ := db.poller.lag(); lag > 2*time.Second {
			t.Errorf("lag is %v", lag)
		}
	})
}

func TestPoller_Off(t *testing.T) {
	inBubble(t, Options{PollInterval: -1}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		requests := client.requests()
		useDB(db)
		time.Sleep(time.Hour)
		if client.requests() != requests {
			t.Error("it polls although it is off")
		}
	})
}

// TestPoller_GapIsReported finds transactions after a gap of missing ones.
func TestPoller_GapIsReported(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		before := db.Current.Load()
		lost := p.Exec("INSERT INTO t VALUES (1)")
		p.Exec("INSERT INTO t VALUES (2)")
		p.Delete(0, lost, lost)
		err := db.poller.poll(true)
		var missing *MissingError
		if !errors.As(err, &missing) || missing.First != lost || missing.Last != lost {
			t.Errorf("poll: %v", err)
		}
		if db.Current.Load() != before {
			t.Error("the view moved over a gap")
		}
	})
}

// TestPoller_FirstUseLongAfterOpen runs the first transaction a day after the
// open.
func TestPoller_FirstUseLongAfterOpen(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		time.Sleep(24 * time.Hour)
		want := p.Exec("INSERT INTO t VALUES (1)")
		useDB(db)
		defer db.poller.done()
		if got := db.Current.Load().TXID; got != want {
			t.Errorf("the first transaction sees %s, want %s", got, want)
		}
	})
}

// TestPoller_WakesAfterFailures makes polls fail until the poller falls asleep.
// Storage works again when the next transaction starts.
func TestPoller_WakesAfterFailures(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		client.down.Store(true)
		useDB(db)
		db.poller.done()
		time.Sleep(24 * time.Hour)
		if state := pollState(db.poller.state.Load()); state != pollAsleep {
			t.Fatalf("poller is %v after a day", state)
		}
		client.down.Store(false)
		want := p.Exec("INSERT INTO t VALUES (1)")
		useDB(db)
		defer db.poller.done()
		if got := db.Current.Load().TXID; got != want {
			t.Errorf("the transaction sees %s, want %s", got, want)
		}
	})
}

// TestPoller_GapCostsFewListings has a gap that stays. The poller lists less
// and less often to look for the missing files.
func TestPoller_GapCostsFewListings(t *testing.T) {
	inBubble(t, Options{PollIdleAfter: -1}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		lost := p.Exec("INSERT INTO t VALUES (1)")
		p.Exec("INSERT INTO t VALUES (2)")
		p.Delete(0, lost, lost)
		useDB(db)
		before := client.lists.Load()
		time.Sleep(10 * time.Minute)
		const polls = 5 + 10*60/30 // polls while delays double, and polls after that
		if n := client.lists.Load() - before; n > polls*(planAttempts+1) {
			t.Errorf("%d listings in ten minutes, want %d polls", n, polls)
		}
	})
}

// TestPoller_LargeBacklog finds a backlog that takes longer to load than one
// poll may take. Each poll continues where the previous one stopped.
func TestPoller_LargeBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newHookClient()
		putFile(t, client, view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}, 3, 1, pgnoRange(1, 3))
		db := openHere(t, client, Options{ReadTimeout: 10 * time.Second, PollIdleAfter: -1})
		const perPoll = 10 * 128 // a poll loads 128 files at a time, and each file takes a second
		const last = ltx.TXID(3*perPoll + 1)
		for txid := ltx.TXID(2); txid <= last; txid++ {
			putFile(t, client, view.Key{Level: 0, MinTXID: txid, MaxTXID: txid}, 3, byte(txid), pgnoRange(2, 2))
		}
		client.open = func(view.Key, int64) error {
			time.Sleep(time.Second)
			return nil
		}
		useDB(db)
		time.Sleep(15 * time.Second)
		if got := db.Current.Load().TXID; got == 1 || got == last {
			t.Errorf("after one poll the view is %s", got)
		}
		time.Sleep(3 * time.Minute)
		if got := db.Current.Load().TXID; got != last {
			t.Errorf("after a while the view is %s, want %s", got, last)
		}
	})
}

// TestPoller_AllWaitForCatchUp starts two transactions after a long sleep. The
// second one finds the poller awake, but must wait like the first.
func TestPoller_AllWaitForCatchUp(t *testing.T) {
	inBubble(t, Options{}, func(t *testing.T, p *ltxtest.Primary, client *slowClient, db *database) {
		useDB(db)
		db.poller.done()
		time.Sleep(24 * time.Hour)
		want := p.Exec("INSERT INTO t VALUES (1)")
		go useDB(db)
		time.Sleep(time.Duration(client.delay.Load()) / 2)
		useDB(db)
		if got := db.Current.Load().TXID; got != want {
			t.Errorf("the second transaction of the day sees %s, of yesterday, want %s", got, want)
		}

		// Both together wait for one interval, not for one each.
		db.poller.done()
		time.Sleep(24 * time.Hour)
		client.delay.Store(int64(time.Minute))
		go useDB(db)
		time.Sleep(DefaultPollInterval / 2)
		start := time.Now()
		useDB(db)
		if d := time.Since(start); d != DefaultPollInterval/2 {
			t.Errorf("the second waits %v", d)
		}
	})
}

// TestPoller_NewsDespiteLostPages breaks one of the files to which pages should
// be relocated. That does not delay new transactions.
func TestPoller_NewsDespiteLostPages(t *testing.T) {
	client := newHookClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x)")
	p.Snapshot()
	p.Exec("CREATE TABLE u (x)")
	p.Exec("INSERT INTO u VALUES (1)")
	client.open = func(k view.Key, _ int64) error {
		if k.Level == 1 {
			return fmt.Errorf("bit rot: %w", ErrCorrupt)
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		db, err := openAlone(t.Context(), "app.db", client, Options{Logger: slog.New(slog.DiscardHandler), PollIdleAfter: -1}.withDefaults(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.close(t.Context()) }()
		useDB(db)
		p.Compact(1, 2, 3)
		p.DeleteLevelBelow(0, 4)
		for range 3 * fullPollEvery {
			want := p.Exec("INSERT INTO t VALUES (1)")
			time.Sleep(2 * DefaultPollInterval)
			if got := db.Current.Load().TXID; got < want {
				t.Fatalf("two intervals later the view is %s, want %s", got, want)
			}
		}
		if lists := client.lists.Load(); lists > 12 {
			t.Errorf("%d listings of everything", lists)
		}
	})
}

// TestPoller_IdleCost counts the requests of ten idle minutes.
func TestPoller_IdleCost(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(p *ltxtest.Primary)
		change  func(p *ltxtest.Primary)
	}{
		{name: "level 0"},
		{name: "snapshot", prepare: func(p *ltxtest.Primary) { p.Snapshot() }},
		{name: "snapshot only", prepare: func(p *ltxtest.Primary) { p.DeleteLevelBelow(0, p.Snapshot()+1) }},
		{name: "compacted", prepare: func(p *ltxtest.Primary) {
			p.Compact(1, 1, p.TXID())
			p.DeleteLevelBelow(0, p.TXID()+1)
		}},
		{name: "compacted under it", change: func(p *ltxtest.Primary) {
			p.Compact(1, 1, p.TXID())
			p.DeleteLevelBelow(0, p.TXID()+1)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := &slowClient{ReplicaClient: memory.NewReplicaClient()}
			p := ltxtest.New(t, client.ReplicaClient, ltxtest.Options{})
			p.Exec("CREATE TABLE t (x)")
			p.Exec("INSERT INTO t VALUES (1)")
			if tc.prepare != nil {
				tc.prepare(p)
			}
			synctest.Test(t, func(t *testing.T) {
				db, err := openAlone(t.Context(), "app.db", client, Options{Logger: slog.New(slog.DiscardHandler), PollIdleAfter: -1}.withDefaults(), nil)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = db.close(t.Context()) }()
				if tc.change != nil {
					tc.change(p)
				}
				useDB(db)
				lists, reads := client.lists.Load(), countReads(db.store)
				const polls = 600
				time.Sleep(polls * DefaultPollInterval)
				synctest.Wait()
				lists, reads = client.lists.Load()-lists, countReads(db.store)-reads
				if full := int64(polls / fullPollEvery); lists > full || reads > polls-full+2 {
					t.Errorf("%d polls cost %d listings and %d reads, want %d and %d at most", polls, lists, reads, full, polls-full+2)
				}
				if got := db.Current.Load(); got.TXID != p.TXID() || got.Epoch != 0 {
					t.Errorf("the view is %s of history %d", got.TXID, got.Epoch)
				}
			})
		})
	}
}

// A connection of this process begins to write while a poll loads new files.
// The poll does not fail.
func TestPoll_WhileWritingBegins(t *testing.T) {
	client := newHookClient()
	p := counterPrimary(t, client, 2)
	db := openHere(t, client, Options{WriteEnabled: true, PollInterval: -1})
	c := connOf(db, nil)
	c.pinNewest()
	count(p)
	begun := false
	client.open = func(view.Key, int64) error {
		begun = true
		return db.writer.Begin(holder{c})
	}
	if err := db.poller.look(false); err != nil || !begun || db.poller.polls.Last().IsFailing() {
		t.Errorf("poll: %v, begun: %v", err, begun)
	}
	db.writer.End(holder{c})
}

// While this process writes, nothing is polled. That does not mean that polls which
// have failed work again.
func TestPoll_FailsUntilItWorks(t *testing.T) {
	client := fourPages(t)
	fault := decorate.NewFault(client)
	db := openHere(t, fault, Options{WriteEnabled: true, PollInterval: -1, CompactionDisabled: true})
	repair := fault.Add(decorate.Rule{Err: errors.New("storage is down")})
	if err := db.poller.look(false); err == nil {
		t.Fatal("a poll works while storage is down")
	}
	c := connOf(db, nil)
	c.pinNewest()
	if err := db.writer.Begin(holder{c}); err != nil {
		t.Fatal(err)
	}
	if err := db.poller.look(false); err != nil || !db.poller.polls.Last().IsFailing() {
		t.Errorf("while a connection writes, a poll gives %v, and polls fail: %v", err, db.poller.polls.Last().IsFailing())
	}
	db.writer.End(holder{c})
	repair()
	if err := db.poller.look(false); err != nil || db.poller.polls.Last().IsFailing() {
		t.Errorf("after that: %v, and polls fail: %v", err, db.poller.polls.Last().IsFailing())
	}
}
