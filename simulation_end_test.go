package litestream_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/superfly/ltx"
)

// end calms the weather, and looks at what every process and the bucket come to.
func (w *simWorld) end() {
	w.trace.Add("end")
	w.setWeather(simCalm)
	for _, p := range w.processes() {
		p.endStall()
		p.mu.Lock()
		p.mu.full, p.mu.crashAt, p.ended = false, 0, time.Now()
		p.mu.Unlock()
	}
	w.bucket.Vanish()
	if w.violation == nil {
		time.Sleep(3 * time.Minute)
		w.bucket.Settle()
		synctest.Wait()
		w.check()
	}
	for _, p := range w.processes() {
		if w.violation == nil {
			p.read()
		}
		if w.violation == nil && p.writes && p.vfs != nil && !p.lost {
			p.write(sim.NewRand(w.seed, p.name), false)
			p.sync()
		}
	}
	for _, p := range w.processes() {
		w.finish(p)
	}
	if w.local == simBreakGoroutine {
		w.counts.broken++
		for range 5 {
			go func() { <-w.stop }()
		}
	}
	w.bucket.Settle()
	time.Sleep(time.Minute)
	synctest.Wait()
	if w.violation == nil {
		w.lookFresh()
		w.lookAtBucket()
		w.lookForRest()
		if w.violation == nil {
			w.keep()
		}
	}
	close(w.stop)
	for _, p := range w.processes() {
		p.mu.Lock()
		w.counts.crashes += p.mu.crashes
		w.counts.broken += p.mu.forgotten
		p.mu.Unlock()
	}
}

// finish closes a process. What it leaves are commits that had to give way.
func (w *simWorld) finish(p *simProcess) {
	if p.isDead() {
		p.bury()
	}
	if p.vfs == nil {
		return
	}
	if w.violation != nil {
		_ = p.stop(true)
		return
	}
	lost := p.lost
	p.close()
	for _, name := range p.files() {
		base := filepath.Base(name)
		if strings.HasPrefix(base, "buffer") && !strings.HasPrefix(base, "buffer.kept-") && !lost {
			w.fail(ruleLeft, "%s is closed and leaves %s", p.name, base)
		}
	}
}

// lookFresh reads the replica like a process that has no state of it, and whose
// network is good.
func (w *simWorld) lookFresh() {
	txid, _ := w.bucket.Newest()
	if txid == 0 {
		return
	}
	floor := w.synced
	vfs := litestream.NewVFS(w.bucket.Client(sim.Fresh, false), &litestream.Options{PollInterval: -1, CloseDelay: -1, Logger: w.log})
	setSlot(w.slot, vfs)
	db, err := vfstest.Open(dsn(w.slot, "app.db"))
	if err == nil {
		conn, cerr := db.Conn(context.Background())
		if err = cerr; err == nil {
			p := &simProcess{w: w, name: sim.Fresh}
			n, lerr := p.transaction(conn)
			check, qerr := queryText(conn, "PRAGMA integrity_check")
			if err = errors.Join(lerr, qerr, conn.Close()); err == nil && check != "ok" {
				w.fail(sim.RuleState, "integrity_check of %s: %s", w.model.Describe(n), check)
			}
			if err == nil && !w.model.Has(n, floor) {
				w.fail(ruleSynced, "a fresh process sees %s, and %s was synced", w.model.Describe(n), w.model.Describe(floor))
			}
		}
		_ = db.Close()
	}
	err = errors.Join(err, vfs.Close(context.Background()))
	w.trace.Add("fresh: %v", err)
	if err != nil && w.synced != 0 {
		w.fail(ruleSynced, "a fresh process cannot read: %v", err)
	}
}

// lookAtBucket compares the files of the bucket with its history.
func (w *simWorld) lookAtBucket() {
	newest, _ := w.bucket.Newest()
	if newest == 0 {
		return
	}
	late, err := w.bucket.Late()
	if err != nil {
		w.t.Error(err)
	}
	for _, txid := range late {
		w.trace.Add("%d has come late", txid)
		if w.contended {
			if err := w.bucket.Files().DeleteLTXFiles(context.Background(), []*ltx.FileInfo{{MinTXID: txid, MaxTXID: txid}}); err != nil {
				w.t.Error(err)
			}
		}
	}
	w.failed(w.bucket.Check())
	reachable, err := w.bucket.Reachable()
	if err != nil {
		w.t.Error(err)
	}
	kept := []ltx.TXID{newest}
	if !w.plan.primary { // a primary deletes more
		kept = append(kept, w.bucket.Merged()...)
	}
	for _, txid := range kept {
		if !slices.Contains(reachable, txid) && !w.pruned[txid] {
			w.fail(ruleRestorable, "the files of the bucket do not give transaction %d any more, only %v", txid, reachable)
		}
	}
	for _, txid := range reachable {
		w.restoreBy(w.bucket.Files(), "end", txid, true)
	}
	report, err := maintain.Verify(context.Background(), w.bucket.Files(), maintain.VerifyOptions{Requests: maintain.Requests{Logger: w.log}})
	if err != nil || len(report.Lost) > 0 {
		w.fail(ruleRestorable, "verify: %+v, error %v", report, err)
	}
}

// lookForRest looks for what no process should have left.
func (w *simWorld) lookForRest() {
	if w.local == simBreakFile {
		w.counts.broken++
		if err := os.WriteFile(filepath.Join(os.TempDir(), "litestream-left"), nil, 0o600); err != nil {
			w.t.Error(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if err != nil {
		w.t.Error(err)
	}
	var names []string
	for _, name := range left {
		if base := filepath.Base(name); !strings.HasPrefix(base, "Test") { // those of the testing package
			names = append(names, base)
		}
	}
	if len(names) > 0 {
		w.fail(ruleLeft, "temporary files are left: %v", names)
	}
	if n := runtime.NumGoroutine() - w.goroutines; n > 2 {
		stacks := make([]byte, 1<<16)
		w.fail(ruleLeft, "%d goroutines are left: %s", n, string(stacks[:runtime.Stack(stacks, true)]))
	}
}
