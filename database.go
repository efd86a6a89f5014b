package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/task"
	"golang.org/x/sync/semaphore"
)

// database is what all connections to one database share. It is safe for
// concurrent use.
type database struct {
	*index

	name   string
	owner  commitlog.Owner // what write buffers are for
	opts   Options         // complete
	reader *reader
	poller *poller
	client io.Closer // closed with the database; nil if that is up to somebody else

	mu    sync.Mutex     // duty: conns
	conns map[*conn]bool // guarded by mu

	writer   *writer
	journals *journals // of the VFS; nil without one

}

// openDatabase builds the newest view of a replica. The context bounds the
// opening; the database lives until close. Its requests go through limit.
func openDatabase(ctx context.Context, name string, client ReplicaClient, opts Options, limit *limiter) (*database, error) {
	db := &database{
		name:  name,
		owner: ownerOf(client, opts.replicaURL, name),
		opts:  opts,
		conns: make(map[*conn]bool),
	}
	log, tasks := opts.Logger.With("db", name), task.NewGroup()
	requests := &store{client: client, log: log, limit: limit, run: tasks.Go}
	if opts.HedgeRequests {
		requests.hedge = new(hedge)
	}
	db.index = &index{
		store: requests, tasks: tasks, log: log,
		cacheSize: opts.CacheSize, readTimeout: opts.ReadTimeout, inUse: db.pinned,
	}
	db.poller = newPoller(opts.PollInterval, opts.PollIdleAfter, tasks, log, db.poll)
	if err := db.open(ctx); err != nil {
		db.tasks.Close(ErrClosed)
		return nil, err
	}
	return db, nil
}

func (db *database) open(ctx context.Context) error {
	start := time.Now()
	if err := db.store.init(ctx); err != nil {
		return err
	}
	v, known, loaded, err := db.buildNewest(ctx)
	if errors.Is(err, ErrNoDatabase) && db.opts.WriteEnabled {
		v = new(view) // the first commit creates it
		if err = confirmEmpty(ctx, db.store); errors.Is(err, errWrongListing) {
			wrong := err
			if v, known, loaded, err = db.buildNewest(ctx); errors.Is(err, ErrNoDatabase) {
				err = wrong
			}
		}
	}
	if err != nil {
		return err
	}
	db.reader = newReader(db.store, db.opts.CacheSize, max(v.pageSize, minPageSize))
	if db.opts.ReadAheadSize > 0 {
		db.reader.bodies = semaphore.NewWeighted(db.opts.ReadAheadSize)
	}
	if db.opts.HydrationEnabled {
		db.reader.copies = newHydrator(db)
	}
	db.writer = newWriter(db)
	db.index.pages, db.index.writer = db.reader, db.writer
	v.state = new(viewState)
	db.current.Store(v)
	db.writer.openedWith(start, known.plan, known.listed)
	db.remember(v.epoch, known.listed)
	if v.commit > 0 {
		db.reader.cachePages(v, loaded)
		if err := db.readPageOne(ctx, v); err != nil {
			return err
		}
	}
	if db.opts.WriteEnabled {
		if err := db.writer.enable(ctx, false); err != nil {
			return err
		}
	}
	if db.reader.copies != nil {
		db.reader.copies.start()
	}
	requests, _ := db.store.totalReads()
	db.log.Info("database opened", "txid", v.txid, "pages", v.commit, "page_size", v.pageSize,
		"requests", db.store.lists.Load()+requests, "duration", time.Since(start))
	return nil
}

// readPageOne reads page 1 of the view that a database is opened with. It tells
// where the change counter stands, and is read first anyway.
func (db *database) readPageOne(ctx context.Context, v *view) error {
	page, err := db.page(ctx, v, 1)
	if err != nil {
		return err
	}
	counter, err := checkPageOne(page, v.pageSize)
	if err != nil {
		loc, _ := v.lookup(1)
		return fmt.Errorf("page 1 in %s: %w", loc.file, err)
	}
	db.counter.Store(counter)
	db.current.Load().state.counter.Store(db.counter.Add(1)) // nobody else knows db yet
	db.oldCounter.Store(counter)
	if db.opts.ReadAheadSize > 0 {
		// The next that are asked for. Those known by now cost nothing.
		roots, schema := treeWalk{db.reader, v}.schema()
		db.readAhead(v, append(schema, roots...), 0, nil)
	}
	return nil
}

// keptPages are the newest versions of pages that came along with files.
type keptPages map[uint32]keptPage

type keptPage struct {
	file *ltxFile
	data []byte
}

// keep adds the pages of a file, replacing older ones, up to limit bytes.
func (k keptPages) keep(l *loadedFile, limit int64) {
	for _, p := range l.pages {
		if _, known := k[p.pgno]; known || int64(len(k)+1)*int64(len(p.data)) <= limit {
			k[p.pgno] = keptPage{l.file, p.data}
		}
	}
}

// cachePages implements pageSink.
func (r *reader) cachePages(v *view, pages keptPages) {
	for pgno, p := range pages {
		if loc, ok := v.lookup(pgno); ok && loc.file == p.file {
			r.admit(pageKey{loc.version, pgno, v.epoch}, p.data, p.file.isWhole)
		}
	}
	r.copies.notify()
}

// reset implements pageSink.
func (r *reader) reset(pageSize uint32) { r.cache.Store(newPageCache(r.cacheSize, pageSize)) }

// dropLocal implements pageSink.
func (r *reader) dropLocal() {
	if l := r.local.Load(); l != nil {
		l.drop()
	}
}

// notify implements pageSink.
func (r *reader) notify() { r.copies.notify() }

// peek returns what page does where that takes no request. Cached tells
// whether it was in the cache.
func (db *database) peek(v *view, pgno uint32) (page []byte, cached, ok bool) {
	loc, ok := v.lookup(pgno)
	if !ok {
		return nil, false, true
	}
	if loc.file.segment != nil || loc.file.wrong.Load() != nil {
		return nil, false, false
	}
	page, cached = db.reader.known(pageKey{loc.version, pgno, v.epoch})
	return page, cached, page != nil
}

// page returns page pgno of a view, nil for one that was never written and
// so is all zeros. It is read-only.
func (db *database) page(ctx context.Context, v *view, pgno uint32) ([]byte, error) {
	loc, ok := v.lookup(pgno)
	if !ok {
		return nil, nil
	}
	if loc.file.segment != nil {
		page := make([]byte, v.pageSize)
		return page, readSegment(loc, pgno, page)
	}
	if err := loc.checkTrusted(pgno); err != nil {
		if loc, ok = db.known(v, pgno, loc.version); !ok {
			return nil, err
		}
	}
	if v.base != nil {
		v = v.base // which knows where it is by now
	}
	return db.reader.page(ctx, pageKey{loc.version, pgno, v.epoch}, func() ([]byte, error) {
		db.reader.copies.want(pgno)
		return db.fetch(ctx, v, pgno, loc)
	})
}

// fetch reads a page from storage, from another file if that which the view
// knows was deleted or replaced.
func (db *database) fetch(ctx context.Context, v *view, pgno uint32, loc frameLoc) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		if v.epoch != db.current.Load().epoch {
			return nil, fmt.Errorf("read page %d as of transaction %s: %w: the replica was replaced", pgno, v.txid, errStateGone)
		}
		if !loc.file.gone.Load() {
			page, err := db.reader.frame(ctx, loc, pgno)
			if err == nil && v.epoch != db.current.Load().epoch {
				continue // it may be of another history
			}
			switch {
			case err == nil, attempt >= planAttempts:
				return page, err
			case isMissing(err):
				loc.file.gone.Store(true)
			case errors.Is(err, ErrCorrupt):
				// Unless the file is another one than that whose index we have.
				seen := db.refreshAnew(ctx)
				if seen.files == nil || v.epoch == db.current.Load().epoch && isListed(loc.file, seen.files) {
					return nil, errors.Join(err, seen.err())
				}
				loc.file.gone.Store(true)
			default:
				return nil, err
			}
		}
		var err error
		if loc, err = db.find(ctx, v, pgno, loc); err != nil {
			return nil, err
		}
	}
}

// join notes a connection.
func (db *database) join(c *conn) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.conns[c] = true
}

// leave forgets a connection.
func (db *database) leave(c *conn) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.conns, c)
}

// pinned returns the views that connections have pinned.
func (db *database) pinned() (pins []*view) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for c := range db.conns {
		for _, v := range []*view{c.held.Load(), c.past.Load()} {
			if v != nil {
				pins = append(pins, v)
			}
		}
	}
	return pins
}

// close ends every request and goroutine of the database and waits for them,
// as long as ctx allows.
func (db *database) close(ctx context.Context) error {
	err := db.writer.close(ctx)
	db.tasks.Close(ErrClosed)
	done := make(chan struct{})
	go func() {
		db.tasks.Wait()
		if db.reader != nil {
			db.reader.clear()
		}
		if db.client != nil {
			if err := db.client.Close(); err != nil {
				db.log.Error("close of the replica client failed", "error", err)
			}
		}
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", db.name, err)
	}
	return nil
}

// closeInTime is close with CloseTimeout as a limit beside that of ctx.
func (db *database) closeInTime(ctx context.Context) error {
	ctx, cancel := task.WithTimeout(ctx, db.opts.CloseTimeout)
	defer cancel()
	return db.close(ctx)
}

// closeWithin is close with a time limit; a negative d is none.
func (db *database) closeWithin(d time.Duration) error {
	ctx, cancel := task.WithTimeout(context.Background(), d)
	defer cancel()
	return db.close(ctx)
}
