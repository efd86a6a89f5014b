package litestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/superfly/ltx"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
)

// database is what all connections to one database share. It is safe for
// concurrent use.
type database struct {
	name   string
	owner  commitlog.Owner // what write buffers are for
	opts   Options         // complete
	log    *slog.Logger
	store  *store
	reader *reader
	poller *poller
	client io.Closer // closed with the database; nil if that is up to somebody else

	views

	// tasks are all goroutines and requests of the database; they end with it.
	tasks *task.Group

	mu    sync.Mutex     // duty: conns
	conns map[*conn]bool // guarded by mu

	writer   *writer
	journals *journals // of the VFS; nil without one

	past   pastViews
	seen   atomic.Pointer[seenFiles]
	turns  atomic.Int64       // refreshes that have begun
	ending atomic.Int64       // epoch that the next refresh is to end, plus 1; 0: none
	shared singleflight.Group // see share
}

// openDatabase builds the newest view of a replica. The context bounds the
// opening; the database lives until close. Its requests go through limit.
func openDatabase(ctx context.Context, name string, client ReplicaClient, opts Options, limit *limiter) (*database, error) {
	db := &database{
		name:  name,
		owner: ownerOf(client, opts.replicaURL, name),
		opts:  opts,
		log:   opts.Logger.With("db", name),
		conns: make(map[*conn]bool),
		tasks: task.NewGroup(),
	}
	db.store = &store{client: client, log: db.log, limit: limit, run: db.tasks.Go}
	if opts.HedgeRequests {
		db.store.hedge = new(hedge)
	}
	db.poller = newPoller(db)
	db.writer = newWriter(db)
	if err := db.open(ctx); err != nil {
		db.tasks.Close(ErrClosed)
		return nil, err
	}
	return db, nil
}

// planAttempts is how often a plan is made anew because a listing did not
// hold together, or a file of it was deleted meanwhile.
const planAttempts = 3

func (db *database) open(ctx context.Context) error {
	start := time.Now()
	if err := db.store.init(ctx); err != nil {
		return err
	}
	v, known, loaded, err := db.buildNewest(ctx)
	if errors.Is(err, ErrNoDatabase) && db.opts.WriteEnabled {
		v = new(view) // the first commit creates it
		if err = db.confirmEmpty(ctx); errors.Is(err, errWrongListing) {
			wrong := err
			if v, known, loaded, err = db.buildNewest(ctx); errors.Is(err, ErrNoDatabase) {
				err = wrong
			}
		}
	}
	if err != nil {
		return err
	}
	db.reader = newReader(db.store, newPageCache(db.opts.CacheSize, max(v.pageSize, minPageSize)))
	if db.opts.ReadAheadSize > 0 {
		db.reader.bodies = semaphore.NewWeighted(db.opts.ReadAheadSize)
	}
	if db.opts.HydrationEnabled {
		db.reader.copies = newHydrator(db)
	}
	v.state = new(viewState)
	db.current.Store(v)
	db.writer.openedWith(start, known.plan, known.listed)
	db.remember(v.epoch, known.listed)
	if v.commit > 0 {
		db.cachePages(v, loaded)
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

// openedFiles are the files that a database was opened with.
type openedFiles struct{ plan, listed []*ltx.FileInfo }

// buildNewest makes the newest view.
func (db *database) buildNewest(ctx context.Context) (v *view, from openedFiles, pages keptPages, err error) {
	v, pages, err = db.build(ctx, func(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) {
		plan, err := planLatest(0, files)
		from = openedFiles{plan, files}
		return plan, err
	})
	return v, from, pages, err
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

// build makes a view from nothing by the plan that choose picks from a
// listing of all files.
func (db *database) build(ctx context.Context, choose func([]*ltx.FileInfo) ([]*ltx.FileInfo, error)) (*view, keptPages, error) {
	var err error
	for range planAttempts {
		var files, plan []*ltx.FileInfo
		if files, err = db.store.listAll(ctx, false); err != nil {
			return nil, nil, err
		}
		if plan, err = choose(files); err == nil {
			v, pages, err := db.assemble(ctx, plan)
			if !isMissing(err) {
				return v, pages, err
			}
			continue
		}
		// Lists of several levels are not of one moment: a file that was
		// compacted and deleted in between looks like a gap, or is missing
		// when its header is read.
		var missing *MissingError
		if !errors.As(err, &missing) && !isMissing(err) {
			return nil, nil, err
		}
	}
	return nil, nil, err
}

// assemble makes a view from the files of a plan from nothing.
func (db *database) assemble(ctx context.Context, plan []*ltx.FileInfo) (*view, keptPages, error) {
	v := new(view)
	pages := make(keptPages)
	err := db.store.loadFiles(ctx, plan, func(l *loadedFile) (err error) {
		if v, err = v.advance(l.file, l.index); err != nil {
			return err
		}
		pages.keep(l, db.opts.CacheSize)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return v, pages, nil
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

// cachePages puts pages into the cache where a view has them in that version.
func (db *database) cachePages(v *view, pages keptPages) {
	for pgno, p := range pages {
		if loc, ok := v.lookup(pgno); ok && loc.file == p.file {
			db.reader.admit(pageKey{loc.version, pgno, v.epoch}, p.data, p.file.isWhole)
		}
	}
	db.reader.copies.notify()
}

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
