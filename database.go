package litestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/outcome"
	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/view"
)

// database is what all connections to one database share. It is safe for
// concurrent use.
type database struct {
	*index
	*past

	name   string
	id     string          // Stats.ID; set before the first connection has the database
	place  string          // where the replica is, for texts
	owner  commitlog.Owner // recorded in write buffers
	opts   Options         // complete
	poller *poller
	offline

	uploadsPolled atomic.Int64 // number of uploads at the last poll that has asked storage

	opening *opening // has ended once the database is open

	reads outcome.Record // reads of pages from storage that SQLite waited for

	opened time.Time // when the open began

	prices   RequestPrices // complete
	spending spending

	pages      *pages.Source
	prefetcher *pages.Prefetcher
	hydrator   *hydrate.Hydrator // nil without hydration

	client io.Closer // closed with the database; nil if the caller closes it

	mu    sync.Mutex     // duty: conns
	conns map[*Conn]bool // guarded by mu

	writer *writer
}

// openDatabase builds the newest view of a replica. The context bounds the
// opening; the database lives until close. Its requests go through limit.
func openDatabase(ctx context.Context, name string, client ReplicaClient, opts Options, limit *remote.Limiter, opening *opening) (*database, error) {
	opening.begin(identityOf(client, opts.replicaURL))
	defer opening.end()
	db := &database{
		name:    name,
		opened:  time.Now().UTC(),
		place:   cmp.Or(placeOf(client, opts.replicaURL), shownName(name)),
		owner:   ownerOf(client, opts.replicaURL, name),
		opts:    opts,
		prices:  opts.RequestPrices.orDefaults(identityOf(client, opts.replicaURL)),
		conns:   make(map[*Conn]bool),
		opening: opening,
	}
	log, tasks := opts.Logger.With("db", shownName(name)), task.NewGroup()
	requests := &remote.Store{
		Client: client, Log: log, Limit: limit, Tasks: tasks, Retrying: opening.retries,
		Indexes: view.NewBudget(opts.IndexSize), NeverWhole: opts.neverWhole,
	}
	if opts.HedgeRequests {
		requests.Hedge = new(remote.Hedge)
	}
	db.index = &index{
		tasks: tasks, log: log,
		histories: &histories{store: requests}, cacheSize: opts.CacheSize, readTimeout: opts.ReadTimeout, inUse: db.inUse,
	}
	db.past = &past{index: db.index}
	db.poller = newPoller(opts.PollInterval, opts.PollIdleAfter, tasks, log, db.pollOnce, databasePolls{db.Views.Current.Load, func() *hydrate.Hydrator { return db.hydrator }})
	if err := db.open(ctx); err != nil {
		db.tasks.Close(ErrClosed)
		return nil, err
	}
	return db, nil
}

func (db *database) open(ctx context.Context) (err error) {
	start := time.Now()
	n, err := db.buildFirst(ctx)
	if err != nil {
		return err
	}
	v := n.view
	if n.offline {
		defer func() {
			if err != nil {
				err = errors.Join(err, db.hydrator.Abort())
			}
		}()
	} else {
		db.composePages(v.PageSize)
	}
	db.writer = newWriter(db)
	db.index.writer = db.writer
	v.State = new(view.State)
	db.Current.Store(v)
	db.writer.OpenedWith(start, n.plan, n.listed)
	if !n.offline {
		db.remember(v.Epoch, n.listed)
		db.following.listedAll(start)
	}
	if v.Commit > 0 {
		db.pages.CachePages(v, n.kept)
		if err := db.readPageOne(ctx, v); err != nil {
			return err
		}
	}
	if db.opts.WriteEnabled {
		if err := db.writer.Enable(ctx, false); err != nil {
			return err
		}
	}
	if db.hydrator != nil {
		db.hydrator.Start()
	}
	db.spending.start(db.countRequests().Dollars)
	db.readRest()
	requests, _ := db.store.TotalReads()
	db.log.Info("database opened", "txid", v.TXID, "pages", v.Commit, "page_size", v.PageSize,
		"requests", db.store.Lists.Load()+requests, "offline", db.isOffline.Load(), "duration", time.Since(start))
	return nil
}

// readPageOne reads page 1 of the view that a database is opened with, for the
// change counter. SQLite reads that page first anyway.
func (db *database) readPageOne(ctx context.Context, v *view.View) error {
	page, err := db.pages.Page(ctx, v, 1)
	if err != nil {
		return err
	}
	counter, err := dbheader.Check(page, v.PageSize)
	if err != nil {
		loc, _ := v.Lookup(1)
		return fmt.Errorf("page 1 in %s: %w", loc.File, err)
	}
	db.Counter.Store(counter)
	db.Current.Load().State.Counter.Store(db.Counter.Add(1)) // no other goroutine uses db yet
	db.OldCounter.Store(counter)
	db.prefetcher.Schema(v)
	return nil
}

// join adds a connection.
func (db *database) join(c *Conn) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.conns[c] = true
}

// leave removes a connection.
func (db *database) leave(c *Conn) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.conns, c)
}

// inUse returns the views that connections have pinned, and the past views that
// they have travelled to.
func (db *database) inUse() []*view.View { return append(db.pinned(), db.past.views.All()...) }

// pinned returns the views that connections have pinned.
func (db *database) pinned() (pins []*view.View) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for c := range db.conns {
		for _, v := range []*view.View{c.pinned.Load(), c.past.Load()} {
			if v != nil {
				pins = append(pins, v)
			}
		}
	}
	return pins
}

// close ends every request and goroutine of the database and waits for them,
// as long as ctx allows.
func (db *database) close(ctx context.Context) error { return db.closeUnlessStalled(ctx, -1) }

// closeUnlessStalled is close, but it waits for uploads only as long as each
// succeeds within the time patience. A negative patience is no limit.
func (db *database) closeUnlessStalled(ctx context.Context, patience time.Duration) error {
	err := db.writer.Close(ctx, patience)
	db.tasks.Close(ErrClosed)
	done := make(chan struct{})
	go func() {
		db.tasks.Wait()
		if db.pages != nil {
			db.pages.Clear()
		}
		if db.client != nil {
			if err := db.client.Close(); err != nil {
				db.log.Error("close of the replica client failed", "error", err)
			}
		}
		close(done)
	}()
	if err != nil && patience >= 0 { // storage may hang whatever the context of a request says
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hurryTime)
		defer cancel()
	}
	select {
	case <-done:
	case <-ctx.Done():
		if !errors.Is(err, ctx.Err()) {
			err = errors.Join(err, fmt.Errorf("background work has not ended: %w", ctx.Err()))
		}
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", shownName(db.name), err)
	}
	return nil
}

// closeInTime closes the database within CloseTimeout, or until ctx is done.
func (db *database) closeInTime(ctx context.Context) error {
	ctx, cancel := task.WithTimeout(ctx, db.opts.CloseTimeout)
	defer cancel()
	return db.close(ctx)
}

// minPatience is the time that an upload has at least when the last connection is
// closed.
const minPatience = 5 * time.Second

// closeLast closes the database after its last connection, within CloseTimeout or
// until ctx is done. While storage is down, it waits for a small part of that time
// only: programs close their connections before the VFS, and have to do both before
// they are killed.
func (db *database) closeLast(ctx context.Context) error {
	ctx, cancel := task.WithTimeout(ctx, db.opts.CloseTimeout)
	defer cancel()
	patience := db.opts.CloseTimeout
	if patience >= 0 {
		patience = max(patience/6, minPatience)
	}
	return db.closeUnlessStalled(ctx, patience)
}
