package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

// simProcess is a process that opens the database. It crashes and starts again.
type simProcess struct {
	w       *simWorld
	name    string
	writes  bool
	slot    string
	byLevel bool // its client cannot list all levels at once
	opts    litestream.Options
	clock   sim.Clock
	lazy    bool   // page indexes are read as they are needed
	pragmas string // of each connection

	starts int    // number of starts so far
	dir    string // local files
	client *sim.Client
	vfs    *litestream.VFS // nil while the process does not run
	db     *sql.DB
	conn   *sql.Conn
	cancel context.CancelFunc
	ctx    context.Context // done when the process dies

	held     *sql.Conn // connection with a transaction that goes on; nil if there is none
	heldNode sim.Node
	goOn     func() // ends a stall; nil if there is none
	syncing  *simSync

	seen   sim.Node  // newest state that the process has seen, so that it must not see an older one
	acked  sim.Node  // newest commit of the process that was acknowledged
	steady sim.Node  // newest commit that survives a loss of power
	base   sim.Node  // newest commit of the process that it knows to be on the replica
	lost   bool      // another writer has written
	again  bool      // the process was started again after a crash, and has not been read yet
	ended  time.Time // when the last stall ended, or the last time that the disk was full
	kept   int       // number of files with commits that gave way to those of others

	mu struct {
		sync.Mutex
		dead    bool
		crashAt int // operations on the disk until the process dies; 0: never
		power   bool
		full    bool // the disk is full
		wasFull bool // an operation has failed because the disk was full, since the process has started
		rng     *rand.Rand
		next    string           // local files that the process has left when it died
		synced  map[string]int64 // sizes of files that survive a loss of power

		crashes   int
		forgotten int // files that a crash has taken away, although they should be there
	}
}

// simSync is a sync that goes on while other things happen.
type simSync struct {
	of   sim.Node
	calm bool // the weather was good when it began
	done chan error
}

// newProcess returns a process that has not started.
func (w *simWorld) newProcess(rng *rand.Rand, name string, writes bool) *simProcess {
	p := &simProcess{w: w, name: name, writes: writes, slot: w.slots[0], byLevel: rng.IntN(3) == 0, dir: filepath.Join(w.dir, name)}
	p.mu.synced = make(map[string]int64)
	w.slots = w.slots[1:]
	p.opts = litestream.Options{
		PollInterval: pick(rng, time.Second, 5*time.Second, -1), CacheSize: pick[int64](rng, 0, -1, 8<<10), Logger: w.log.With("process", name),
		ReadTimeout: pick(rng, 5*time.Second, 30*time.Second), CloseTimeout: 10 * time.Second, CloseDelay: -1, WaitForReplica: -1,
		HydrationEnabled: rng.IntN(3) == 0, HedgeRequests: rng.IntN(4) == 0,
	}
	own := sim.NewRand(w.seed, "own "+name)
	p.clock = sim.NewClock(own)
	p.opts.PollInterval = odd(own, p.opts.PollInterval)
	p.opts.PollIdleAfter = odd(own, pick(own, 5*time.Second, 20*time.Second, time.Minute))
	p.lazy = rng.IntN(3) == 0
	if p.opts.HydrationEnabled && rng.IntN(3) == 0 {
		p.opts.HydrationMode = litestream.HydratePages
	}
	if !writes {
		if p.opts.HydrationEnabled && rng.IntN(2) == 0 {
			p.opts.HydrationPath = "copy"
		}
		return p
	}
	p.opts.WriteEnabled, p.opts.SyncOnCommit = true, rng.IntN(4) == 0
	p.opts.WriteSyncInterval = pick(rng, time.Second, 5*time.Second, -1)
	p.opts.WriteSyncInterval = odd(own, p.opts.WriteSyncInterval)
	p.opts.CompactionDisabled = rng.IntN(5) == 0
	p.opts.CompactionLevels = []time.Duration{3 * time.Second, 30 * time.Second}
	p.opts.L0Retention = pick(rng, 5*time.Second, 5*time.Minute)
	if rng.IntN(4) > 0 {
		p.opts.WriteBufferPath = "buffer"
	}
	p.pragmas = fmt.Sprintf("PRAGMA page_size = %d; PRAGMA synchronous = %s; PRAGMA journal_mode = %s; PRAGMA cache_size = %d",
		w.plan.pageSize, pick(rng, "FULL", "NORMAL", "OFF"), pick(rng, "DELETE", "MEMORY", "PERSIST", "TRUNCATE"), pick(rng, -2000, 10))
	return p
}

// odd returns a time that is hardly longer, and hardly ever equal to another one, so
// that what happens at intervals does not happen at the same moment.
func odd(rng *rand.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return d
	}
	return d + time.Duration(rng.Int64N(int64(time.Millisecond)))
}

// survivesPower reports whether commits survive a loss of power at once.
func (p *simProcess) survivesPower() bool {
	return p.opts.WriteBufferPath != "" && !strings.Contains(p.pragmas, "synchronous = OFF")
}

// hasExcuse reports whether the process may fail in good weather.
func (p *simProcess) hasExcuse() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.dead || p.mu.full || p.goOn != nil || p.lost || !p.ended.IsZero() && time.Since(p.ended) < simSettled
}

func (p *simProcess) isFull() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.full
}

func (p *simProcess) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.dead
}

// start opens the database, unless it is open. It reports whether it is.
func (p *simProcess) start() bool {
	if p.isDead() {
		p.bury()
	}
	if p.vfs != nil {
		return true
	}
	p.starts++
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		p.w.t.Error(err)
	}
	p.mu.Lock()
	p.mu.dead, p.mu.full, p.mu.wasFull, p.mu.crashAt = false, false, false, 0
	p.mu.Unlock()
	p.client = p.w.bucket.Client(fmt.Sprintf("%s.%d", p.name, p.starts), p.byLevel)
	opts := p.opts
	for _, path := range []*string{&opts.WriteBufferPath, &opts.HydrationPath} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(p.dir, *path)
		}
	}
	litestream.OnDisk(&opts, p.onDisk)
	litestream.SetClock(&opts, p.clock.Now)
	if p.lazy {
		litestream.NeverWhole(&opts)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.vfs = litestream.NewVFS(p.client, &opts)
	setSlot(p.slot, p.vfs)
	_, head := p.w.bucket.Newest()
	floor := p.w.synced
	var err error
	if p.db, err = vfstest.Open(dsn(p.slot, "app.db")); err == nil {
		p.conn, err = p.connect()
	}
	if err != nil {
		if !p.writes && head == 0 {
			p.w.trace.Add("%s: open: %v", p.name, err)
		} else {
			p.w.trouble(p, "open", err)
		}
		_ = p.stop(true)
		return false
	}
	p.lost = false
	if p.w.model.Has(floor, p.seen) && p.w.local != simBreakOrder {
		p.seen = floor
	}
	p.w.trace.Add("%s: open", p.name)
	return true
}

// connect returns a connection.
func (p *simProcess) connect() (*sql.Conn, error) {
	conn, err := p.db.Conn(context.Background())
	if err == nil && p.pragmas != "" {
		if _, err = conn.ExecContext(context.Background(), p.pragmas); err != nil {
			_ = conn.Close()
		}
	}
	return conn, err
}

// onDisk is called before and after each operation on local files.
func (p *simProcess) onDisk(op string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.dead {
		return errors.New("the process is dead")
	}
	if op == "after: sync segment" || op == "after: begin commits" {
		for _, name := range p.files() {
			if op == "after: begin commits" && filepath.Base(name) != "buffer" {
				continue
			}
			if info, err := os.Stat(name); err == nil {
				p.mu.synced[name] = info.Size()
			}
		}
	}
	if p.mu.crashAt > 0 {
		if p.mu.crashAt--; p.mu.crashAt == 0 {
			p.w.trace.Add("%s: dies %s", p.name, op)
			p.die()
			return errors.New("the process dies")
		}
	}
	if p.mu.full && strings.HasPrefix(op, "before: ") && !strings.Contains(op, "remove") {
		p.mu.wasFull = true
		return fmt.Errorf("%s: %w", op, syscall.ENOSPC)
	}
	return nil
}

// files returns the local files of the process.
func (p *simProcess) files() []string {
	names, err := filepath.Glob(filepath.Join(p.dir, "*"))
	if err != nil {
		p.w.t.Error(err)
	}
	return names
}

// die ends the process at once. Its files are those of the moment, and if power is
// lost, what was not synced is damaged. The caller holds p.mu.
func (p *simProcess) die() {
	p.mu.crashes++
	p.mu.dead = true
	p.client.Kill()
	p.mu.next = filepath.Join(p.w.dir, fmt.Sprintf("%s.%d", p.name, p.starts))
	if err := os.Mkdir(p.mu.next, 0o700); err != nil {
		p.w.t.Error(err)
	}
	for _, name := range p.files() {
		to := filepath.Join(p.mu.next, filepath.Base(name))
		isBuffer := strings.HasPrefix(filepath.Base(name), "buffer")
		if isBuffer && (p.w.local == simBreakKill || p.w.local == simBreakFsync && p.mu.power) {
			p.mu.forgotten++
			continue
		}
		if !p.mu.power {
			p.mu.synced[to] = p.mu.synced[name]
			if err := os.Link(name, to); err != nil {
				p.w.t.Error(err)
			}
			continue
		}
		b, err := os.ReadFile(name)
		if synced := min(p.mu.synced[name], int64(len(b))); err == nil && isBuffer && !strings.Contains(name, ".kept-") && int64(len(b)) > synced {
			b = tear(p.mu.rng, b, int(synced))
			if filepath.Base(name) == "buffer" { // so small that it is written whole or not at all
				b = nil
			}
		}
		p.mu.synced[to] = int64(len(b))
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			p.w.t.Error(err)
		}
	}
}

// crash makes the process die now, or at the n-th operation on the disk from now
// on.
func (p *simProcess) crash(rng *rand.Rand, power bool, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.vfs == nil || p.mu.dead {
		return
	}
	p.mu.power, p.mu.rng, p.mu.crashAt = power, rng, n
	if n == 0 {
		p.w.trace.Add("%s: dies", p.name)
		p.die()
	}
}

// bury ends the goroutines of a dead process. From then on it may start again.
func (p *simProcess) bury() {
	p.mu.Lock()
	power, old := p.mu.power, p.dir
	p.mu.Unlock()
	if p.vfs != nil {
		_ = p.stop(true)
	}
	if err := os.RemoveAll(old); err != nil {
		p.w.t.Error(err)
	}
	switch {
	case !p.writes: // what it has seen was on the replica
	case p.opts.WriteBufferPath == "":
		p.seen, p.w.contended = p.base, true // an upload of a commit that is gone may still arrive
	case power && !p.survivesPower():
		p.seen, p.w.contended = p.steady, true
	default:
		p.seen = p.acked
	}
	p.acked, p.again = p.seen, true
	p.mu.Lock()
	p.mu.dead, p.dir = false, p.mu.next
	p.mu.Unlock()
}

// stop closes everything, and waits for it. At once says that nothing is waited
// for.
func (p *simProcess) stop(atOnce bool) error {
	ctx := context.Background()
	if atOnce {
		p.cancel()
		done, cancel := context.WithCancel(ctx)
		cancel()
		ctx = done
	}
	p.endStall()
	if p.held != nil && !atOnce {
		p.release()
	}
	err := p.vfs.Close(ctx)
	if p.syncing != nil {
		p.collected(<-p.syncing.done)
	}
	for _, conn := range []*sql.Conn{p.held, p.conn} {
		if conn != nil {
			_ = conn.Close()
		}
	}
	_ = p.db.Close()
	p.cancel()
	p.vfs, p.db, p.conn, p.held = nil, nil, nil, nil
	return err
}

// endStall lets requests of the process go on.
func (p *simProcess) endStall() {
	if p.goOn != nil {
		p.goOn()
		p.goOn, p.ended = nil, time.Now()
	}
}

// collect takes the result of a sync that has ended.
func (p *simProcess) collect() {
	if p.syncing == nil {
		return
	}
	select {
	case err := <-p.syncing.done:
		p.collected(err)
	default:
	}
}

func (p *simProcess) collected(err error) {
	s := p.syncing
	p.syncing = nil
	if err != nil && !s.calm && p.w.local != simBreakSync && !errors.Is(err, litestream.ErrConflict) {
		p.w.trace.Add("%s: sync that began in bad weather: %v", p.name, err)
		p.noticeLoss("sync in the background")
		return
	}
	p.syncEnded("sync in the background", s.of, err)
}

// syncEnded takes the result of a sync that began when of was the newest commit.
func (p *simProcess) syncEnded(op string, of sim.Node, err error) {
	if p.w.local == simBreakSync && err != nil && !p.isDead() {
		p.w.counts.broken++
		err = nil
	}
	if err != nil {
		p.w.trouble(p, op, err)
		return
	}
	p.w.trace.Add("%s: %s: %d is on the replica", p.name, op, of)
	p.w.markSynced(p.name, of)
	if p.w.model.Has(of, p.base) {
		p.base = of
	}
	if p.w.model.Has(of, p.steady) {
		p.steady = of
	}
}

// lose records that another writer has written: the process follows it from now on,
// and keeps its own commits in a file.
func (p *simProcess) lose(op string) {
	if p.lost || !p.writes {
		return
	}
	p.w.counts.losses++
	p.w.trace.Add("%s: %s: another writer has written", p.name, op)
	if !p.w.contended {
		p.w.fail(ruleOneWriter, "%s: %s: it has given up", p.name, op)
	}
	p.mustHaveKept(op)
	p.lost, p.seen, p.acked = true, p.base, p.base
}

// noticeLoss records that another writer has written if the process says that it
// does not write any more.
func (p *simProcess) noticeLoss(op string) {
	if !p.writes || p.lost || p.conn == nil || p.isDead() || p.vfs.IsClosed() {
		return
	}
	var enabled string
	if err := p.conn.QueryRowContext(context.Background(), "PRAGMA litestream_write_enabled").Scan(&enabled); err == nil && enabled == "0" {
		p.lose(op)
	}
}

// mustHaveKept looks for the commits that are not on the replica.
func (p *simProcess) mustHaveKept(op string) {
	_, head := p.w.bucket.Newest()
	if p.opts.WriteBufferPath == "" || p.w.model.Has(head, p.acked) || p.isDead() || p.isFull() {
		return
	}
	synctest.Wait() // until the files have their new names
	kept, _ := filepath.Glob(filepath.Join(p.dir, "buffer.kept-*"))
	before := p.kept
	if p.w.local == simBreakKept {
		p.w.counts.broken += len(kept)
		kept = nil
	}
	if p.kept = len(kept); p.kept <= before && !p.keepsInPlace() {
		p.w.fail(ruleKept, "%s: %s: %s is not on the replica, and no file keeps it", p.name, op, p.w.model.Describe(p.acked))
	}
}

// keepsInPlace reports whether commits that give way may be where they were: the disk
// was full when they were to get another name, and the next start does that.
func (p *simProcess) keepsInPlace() bool {
	p.mu.Lock()
	wasFull := p.mu.wasFull
	p.mu.Unlock()
	segments, _ := filepath.Glob(filepath.Join(p.dir, "buffer-*"))
	return wasFull && len(segments) > 0
}
