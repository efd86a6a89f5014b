package litestream_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/superfly/ltx"
)

// simKind is a kind of steps, with how often it is in a plan.
type simKind struct {
	name   string
	weight int
	do     func(w *simWorld, p *simProcess, rng *rand.Rand)
}

// The steps of plans: those of worlds with writers, and those with a primary.
var (
	simSteps        []simKind
	simPrimarySteps []simKind
)

func init() {
	shared := []simKind{
		{"read", 3, func(w *simWorld, _ *simProcess, rng *rand.Rand) { pick(rng, w.processes()...).read() }},
		{"hold", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { pick(rng, w.processes()...).hold() }},
		{"release", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { pick(rng, w.processes()...).release() }},
		{"travel", 2, func(w *simWorld, _ *simProcess, rng *rand.Rand) { pick(rng, w.processes()...).travel(rng) }},
		{"wait", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { pick(rng, w.readers...).wait() }},
		{"weather", 2, func(w *simWorld, _ *simProcess, rng *rand.Rand) { w.setWeather(randomWeather(rng)) }},
		{"calm", 2, func(w *simWorld, _ *simProcess, _ *rand.Rand) { w.setWeather(simCalm) }},
		{"sleep", 3, func(_ *simWorld, _ *simProcess, rng *rand.Rand) {
			time.Sleep(odd(rng, pick(rng, time.Second, 7*time.Second, 40*time.Second, 10*time.Minute)))
		}},
		{"crash reader", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) {
			pick(rng, w.readers...).crash(rng, rng.IntN(2) == 0, 0)
		}},
		{"close", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { pick(rng, w.processes()...).close() }},
		{"stall", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { pick(rng, w.processes()...).stall() }},
		{"go on", 1, func(w *simWorld, _ *simProcess, _ *rand.Rand) {
			for _, p := range w.processes() {
				p.endStall()
			}
		}},
		{"fresh", 1, func(w *simWorld, _ *simProcess, _ *rand.Rand) { w.lookFresh() }},
		{"restore", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { w.restore(rng) }},
		{"fork", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { w.fork(rng) }},
		{"compact", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { w.maintain(rng) }},
	}
	simSteps = append([]simKind{
		{"write", 10, func(_ *simWorld, p *simProcess, rng *rand.Rand) { p.write(rng, false) }},
		{"roll back", 1, func(_ *simWorld, p *simProcess, rng *rand.Rand) { p.write(rng, true) }},
		{"sync", 3, func(_ *simWorld, p *simProcess, _ *rand.Rand) { p.sync() }},
		{"sync on the side", 2, func(_ *simWorld, p *simProcess, _ *rand.Rand) { p.startSync() }},
		{"crash", 1, func(_ *simWorld, p *simProcess, rng *rand.Rand) { p.crash(rng, false, 0) }},
		{"lose power", 1, func(_ *simWorld, p *simProcess, rng *rand.Rand) { p.crash(rng, true, 0) }},
		{"crash at the disk", 2, func(_ *simWorld, p *simProcess, rng *rand.Rand) { p.crash(rng, rng.IntN(2) == 0, 1+rng.IntN(20)) }},
		{"disk full", 1, func(_ *simWorld, p *simProcess, rng *rand.Rand) { p.fill(rng.IntN(2) == 0) }},
		{"roll the bucket back", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) { w.rollBack(rng) }},
		{"take over", 1, func(_ *simWorld, p *simProcess, _ *rand.Rand) { p.takeOver() }},
	}, shared...)
	simPrimarySteps = append([]simKind{
		{"write", 8, func(w *simWorld, _ *simProcess, rng *rand.Rand) { w.writePrimary(rng) }},
		{"merge", 2, func(w *simWorld, _ *simProcess, rng *rand.Rand) { w.mergePrimary(rng) }},
		{"clock", 1, func(w *simWorld, _ *simProcess, rng *rand.Rand) {
			w.primary.Advance(pick(rng, -time.Hour, -time.Second, time.Hour))
		}},
	}, shared...)
}

// step plays a step of the plan.
func (w *simWorld) step(s simStep) {
	kinds, rng := simSteps, rand.New(rand.NewPCG(s.seed, 1))
	var p *simProcess
	if w.plan.primary {
		kinds = simPrimarySteps
	} else {
		p = w.writers[s.party%len(w.writers)]
	}
	i := slices.IndexFunc(kinds, func(k simKind) bool { return k.name == s.name })
	kinds[i].do(w, p, rng)
}

// sqlExec runs a statement.
func sqlExec(conn *sql.Conn, query string, args ...any) error {
	synctest.Wait()
	_, err := conn.ExecContext(context.Background(), query, args...)
	return err
}

// look reads the state that a connection sees, within a transaction.
func (p *simProcess) look(conn *sql.Conn) (n sim.Node, err error) {
	ctx := context.Background()
	synctest.Wait()
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&n); err != nil {
		return 0, err
	}
	content, value := make(map[int64]string), make(map[int64]int64)
	if n > 0 {
		synctest.Wait()
		rows, err := conn.QueryContext(ctx, "SELECT id, v, b FROM t")
		if err != nil {
			return 0, err
		}
		defer rows.Close()
		for rows.Next() {
			var id, v int64
			var b string
			if err := rows.Scan(&id, &v, &b); err != nil {
				return 0, err
			}
			content[id], value[id] = b, v
		}
		if err := rows.Err(); err != nil {
			return 0, err
		}
	}
	p.w.counts.reads++
	if v := p.w.model.Check(n, content, value); v != nil {
		v.Text = p.name + ": " + v.Text
		p.w.failed(v)
	}
	return n, nil
}

// transaction reads the state in a transaction of its own. If that fails, it tries
// again once: files of the state may have been deleted since the last poll.
func (p *simProcess) transaction(conn *sql.Conn) (n sim.Node, err error) {
	for range 2 {
		if err = sqlExec(conn, "BEGIN"); err != nil {
			continue
		}
		n, err = p.look(conn)
		if rerr := sqlExec(conn, "ROLLBACK"); err == nil {
			return n, rerr
		}
		p.w.trace.Add("%s: reads: %v", p.name, err)
	}
	return 0, err
}

// mustFollow checks that a state is not older than what the process has seen.
func (p *simProcess) mustFollow(n sim.Node) {
	again := p.again
	p.again = false
	if p.w.model.Has(n, p.seen) {
		p.seen = n
		return
	}
	if p.writes && !p.isDead() {
		p.noticeLoss("read")
		if _, head := p.w.bucket.Newest(); again && !p.lost && p.w.contended && !p.w.model.Has(p.acked, head) {
			p.mustHaveKept("restart") // the replica went on without the commits
			p.seen, p.acked = p.base, p.base
		}
		if p.w.model.Has(n, p.seen) {
			p.seen = n
			return
		}
	}
	rule := ruleForward
	if again {
		rule = ruleLocal
	}
	p.w.fail(rule, "%s sees %s after %s", p.name, p.w.model.Describe(n), p.w.model.Describe(p.seen))
}

// read reads the newest state.
func (p *simProcess) read() {
	if !p.start() {
		return
	}
	n, err := p.transaction(p.conn)
	if err != nil {
		p.w.trouble(p, "read", err)
		return
	}
	p.w.trace.Add("%s: reads %d", p.name, n)
	p.mustFollow(n)
}

// hold begins a transaction that goes on.
func (p *simProcess) hold() {
	if !p.start() || p.held != nil {
		return
	}
	conn, err := p.connect()
	if err == nil {
		if err = sqlExec(conn, "BEGIN"); err == nil {
			p.heldNode, err = p.look(conn)
		}
		if err != nil {
			_ = conn.Close()
		}
	}
	if err != nil { // as in transaction
		p.w.trace.Add("%s: hold: %v", p.name, err)
		p.read()
		return
	}
	p.held = conn
	p.w.trace.Add("%s: holds %d", p.name, p.heldNode)
	p.mustFollow(p.heldNode)
}

// release reads the state of the held transaction again, and ends it.
func (p *simProcess) release() {
	if p.held == nil || p.isDead() {
		return
	}
	if p.w.local == simBreakView {
		p.w.counts.broken++
		_ = sqlExec(p.held, "COMMIT; BEGIN")
	}
	n, err := p.look(p.held)
	switch {
	case err != nil: // another process may have deleted the files
		p.w.trace.Add("%s: reads what is held: %v", p.name, err)
	case n != p.heldNode:
		p.w.fail(ruleSnapshot, "%s sees %s in the transaction of %s", p.name, p.w.model.Describe(n), p.w.model.Describe(p.heldNode))
	}
	if err := errors.Join(sqlExec(p.held, "ROLLBACK"), p.held.Close()); err != nil {
		p.w.trouble(p, "release", err)
	}
	p.held = nil
}

// travel reads a past state.
func (p *simProcess) travel(rng *rand.Rand) {
	newest, _ := p.w.bucket.Newest()
	if newest == 0 || !p.start() {
		return
	}
	txid := 1 + ltx.TXID(rng.Uint64N(uint64(newest)))
	if p.w.isLate(txid) {
		return
	}
	at := txid
	if p.w.local == simBreakTravel && txid > 1 {
		p.w.counts.broken++
		at--
	}
	if err := sqlExec(p.conn, fmt.Sprintf("PRAGMA litestream_txid = '%s'", at)); err != nil {
		p.w.trace.Add("%s: travel to %d: %v", p.name, txid, err)
		return
	}
	n, err := p.transaction(p.conn)
	switch want := p.w.bucket.Node(txid); {
	case err != nil:
		p.w.trace.Add("%s: read as of %d: %v", p.name, txid, err)
	case n != want:
		p.w.fail(ruleTravel, "%s sees %s as of transaction %d, want %s", p.name, p.w.model.Describe(n), txid, p.w.model.Describe(want))
	default:
		p.w.counts.travels++
		p.w.trace.Add("%s: sees %d as of %d", p.name, n, txid)
	}
	if err := sqlExec(p.conn, "PRAGMA litestream_txid = latest"); err != nil {
		p.w.trouble(p, "travel back", err)
	}
}

// wait waits for the newest transaction and reads it.
func (p *simProcess) wait() {
	txid, head := p.w.bucket.Newest()
	if txid == 0 || !p.start() {
		return
	}
	if err := sqlExec(p.conn, fmt.Sprintf("PRAGMA litestream_wait = '%s'", txid)); err != nil {
		p.w.trouble(p, "wait", err)
		return
	}
	n, err := p.transaction(p.conn)
	if err != nil {
		p.w.trouble(p, "read after a wait", err)
		return
	}
	if !p.w.model.Has(n, head) {
		p.w.fail(ruleForward, "%s has waited for %s, and sees %s", p.name, p.w.model.Describe(head), p.w.model.Describe(n))
	}
	p.mustFollow(n)
}

// change returns the statements of a random commit, and the rows after it.
func (w *simWorld) change(rng *rand.Rand, of sim.Node, value int64) (query string, rows map[int64]sim.Row) {
	rows = w.model.Rows(of)
	if of == 0 {
		query = "CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER, b TEXT);"
	}
	put := func(id int64) {
		rows[id] = sim.Row{Value: value, Size: 20 + rng.IntN(pick(rng, 30, 300, 3*w.plan.pageSize))}
		query += fmt.Sprintf("INSERT OR REPLACE INTO t VALUES (%d, %d, '%s');", id, value, rows[id].Content(id))
	}
	for range 1 + rng.IntN(3) {
		ids := slices.Sorted(maps.Keys(rows))
		switch {
		case len(ids) > 3 && rng.IntN(4) == 0:
			id := pick(rng, ids...)
			delete(rows, id)
			query += fmt.Sprintf("DELETE FROM t WHERE id = %d;", id)
		case len(ids) > 6 && rng.IntN(12) == 0:
			for _, id := range ids[3:] {
				delete(rows, id)
			}
			query += fmt.Sprintf("DELETE FROM t WHERE id > %d;", ids[2])
		default:
			put(int64(rng.IntN(25)))
		}
	}
	return query, rows
}

// write makes a commit, or a rollback.
func (p *simProcess) write(rng *rand.Rand, back bool) {
	if !p.start() {
		return
	}
	if err := sqlExec(p.conn, "BEGIN IMMEDIATE"); err != nil {
		p.w.trouble(p, "begin", err)
		return
	}
	defer func() {
		if p.conn != nil {
			_ = sqlExec(p.conn, "ROLLBACK") // an error if there is no transaction any more
		}
	}()
	parent, err := p.look(p.conn)
	if err != nil { // as in transaction
		p.w.trace.Add("%s: read before a write: %v", p.name, err)
		_ = sqlExec(p.conn, "ROLLBACK")
		p.read()
		return
	}
	p.mustFollow(parent)
	value := rng.Int64N(1 << 40)
	query, rows := p.w.change(rng, parent, value)
	n := p.w.model.Add(parent, p.name, rows)
	p.w.model.SetFate(n, sim.Failed)
	if err := sqlExec(p.conn, query+fmt.Sprintf("PRAGMA user_version = %d", n)); err != nil {
		if !p.w.contended {
			p.w.trouble(p, "write", err)
			return
		}
		p.missed("write", err)
		return
	}
	if back {
		if p.w.local == simBreakRollback {
			p.w.counts.broken++
			p.acknowledged(n)
		}
		return
	}
	p.w.model.SetFate(n, sim.Begun)
	err = sqlExec(p.conn, "COMMIT")
	if p.w.local == simBreakError && err == nil && !p.opts.SyncOnCommit {
		p.w.counts.broken++
		err = errors.New("the commit is refused")
	}
	switch {
	case err == nil:
		p.acknowledged(n)
		if p.opts.SyncOnCommit {
			p.syncEnded("commit", n, nil)
		}
	case p.isDead(): // the commit may be in the write buffer
		p.w.trouble(p, "commit", err)
	case p.w.contended && p.lacksFile(): // SQLite reads pages of the free list in COMMIT
		if !p.opts.SyncOnCommit {
			p.w.model.SetFate(n, sim.Failed)
		}
		p.missed("commit", err)
	case p.opts.SyncOnCommit: // the commit may be in the write buffer
		p.w.trouble(p, "commit", err)
	default:
		p.w.model.SetFate(n, sim.Failed)
		p.w.trouble(p, "commit", err)
	}
}

// missed ends a transaction that needs files which another writer has deleted, as in
// transaction.
func (p *simProcess) missed(op string, err error) {
	p.w.trace.Add("%s: %s: %v", p.name, op, err)
	_ = sqlExec(p.conn, "ROLLBACK")
	p.read()
}

// lacksFile reports whether the last error of the connection is that a file of the
// state which it reads was deleted.
func (p *simProcess) lacksFile() bool {
	status, err := queryText(p.conn, "PRAGMA litestream_status")
	var last struct {
		Error struct{ Text string } `json:"last_error"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(status), &last)
	}
	return err == nil && strings.Contains(last.Error.Text, "was deleted")
}

// acknowledged records a commit.
func (p *simProcess) acknowledged(n sim.Node) {
	p.w.counts.commits++
	p.w.model.SetFate(n, sim.Acked)
	p.seen, p.acked = n, n
	if p.survivesPower() {
		p.steady = n
	}
	p.w.trace.Add("%s: commits %s", p.name, p.w.model.Describe(n))
}

// startAgain is start. After a crash it looks at what is left of the commits before
// anything else happens.
func (p *simProcess) startAgain() bool {
	if !p.start() {
		return false
	}
	if p.again {
		p.read()
	}
	return !p.again && p.vfs != nil && !p.isDead()
}

// sync uploads what was committed.
func (p *simProcess) sync() {
	if !p.startAgain() {
		return
	}
	of := p.acked
	ctx, cancel := context.WithTimeout(p.ctx, time.Minute)
	defer cancel()
	p.syncEnded("sync", of, p.vfs.Sync(ctx, "app.db"))
}

// startSync begins a sync that goes on while other things happen.
func (p *simProcess) startSync() {
	if !p.startAgain() || p.syncing != nil {
		return
	}
	s := &simSync{of: p.acked, calm: p.w.isCalm(), done: make(chan error, 1)}
	p.syncing = s
	vfs, parent := p.vfs, p.ctx
	go func() {
		ctx, cancel := context.WithTimeout(parent, time.Minute)
		defer cancel()
		s.done <- vfs.Sync(ctx, "app.db")
	}()
}

// close ends the process in order.
func (p *simProcess) close() {
	if p.vfs == nil || p.isDead() {
		return
	}
	if p.again {
		p.read()
	}
	if p.isDead() || p.again && p.w.violation != nil {
		return
	}
	of, lost := p.acked, p.lost
	err := p.stop(false)
	switch {
	case err != nil:
		p.w.trouble(p, "close", err)
		if p.isDead() {
			return
		}
		if p.opts.WriteBufferPath == "" {
			p.seen, p.w.contended = p.base, true // the commits are kept in a file that nobody opens
			p.acked = p.base
		}
		p.again = true
	case p.writes && !lost && !p.isDead():
		p.syncEnded("close", of, nil)
	}
}

// stall stops the requests of the process.
func (p *simProcess) stall() {
	if p.vfs != nil && p.goOn == nil && !p.isDead() {
		p.goOn = p.client.Stall()
		p.w.trace.Add("%s: its requests stall", p.name)
	}
}

// fill makes the local disk full, or not.
func (p *simProcess) fill(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.full, p.ended = full, time.Now()
	p.w.trace.Add("%s: the disk is full: %v", p.name, full)
}

// takeOver makes the process a writer again after another one has written.
func (p *simProcess) takeOver() {
	if p.vfs == nil || p.isDead() {
		return
	}
	p.noticeLoss("take over")
	if err := sqlExec(p.conn, "PRAGMA litestream_write_enabled = 1"); err != nil {
		p.w.trouble(p, "take over", err)
		return
	}
	p.lost = false
}
