package litestream_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/jitter"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/superfly/ltx"
)

// The rules that the simulation checks besides those of package sim.
const (
	ruleSynced     sim.Rule = "a synced commit is on the replica, in the order of syncs"
	ruleLocal      sim.Rule = "an acknowledged commit survives what the documentation says"
	ruleForward    sim.Rule = "a process never goes back"
	ruleSnapshot   sim.Rule = "a transaction sees one state"
	ruleTravel     sim.Rule = "a past state is what it was"
	ruleRestorable sim.Rule = "every state that is kept can be restored"
	ruleCalm       sim.Rule = "in calm weather everything works"
	ruleLeft       sim.Rule = "nothing is left behind"
	ruleOneWriter  sim.Rule = "the only writer does not give up"
	ruleKept       sim.Rule = "what is not replayed is kept"
)

// simBreak is a fault of a process that the simulation must notice.
type simBreak string

const (
	simBreakNothing   simBreak = ""
	simBreakFsync     simBreak = "the disk forgets what it has synced"
	simBreakKill      simBreak = "the write buffer goes with the process"
	simBreakSync      simBreak = "a sync that fails is reported as a success"
	simBreakRollback  simBreak = "a rollback is taken for a commit"
	simBreakView      simBreak = "a transaction changes its view"
	simBreakTravel    simBreak = "a connection travels to another time"
	simBreakFile      simBreak = "a temporary file is left"
	simBreakGoroutine simBreak = "a goroutine is left"
	simBreakError     simBreak = "a commit that is refused takes place"
	simBreakGiveUp    simBreak = "there is a second writer that nobody knows of"
	simBreakDead      simBreak = "storage stays unavailable"
	simBreakKept      simBreak = "commits that give way are not kept"
	simBreakOrder     simBreak = "a rollback of the bucket is not announced"
	simBreakOpen      simBreak = "a file stays open"
	simBreakMemory    simBreak = "memory is not released"
)

// simSettled is the time after which nothing fails any more because of what was
// before.
const simSettled = 2 * time.Minute

// simSlots is the number of slots that a world needs.
const simSlots = 6

// simPlan is what happens in a world. It follows from a seed.
type simPlan struct {
	primary    bool // a primary of Litestream writes, and no process in write mode
	twoWriters bool
	oneHost    bool // the readers share a local file
	pageSize   int
	steps      []simStep
}

// simStep is a step of a plan. A step does the same whatever comes before it.
type simStep struct {
	name  string
	party int
	seed  uint64
}

// String returns the step for texts.
func (s simStep) String() string { return fmt.Sprintf("%s %d", s.name, s.party) }

// newSimPlan returns the plan of a seed.
func newSimPlan(seed uint64) simPlan {
	rng := sim.NewRand(seed, "plan")
	p := simPlan{primary: rng.IntN(6) == 0, twoWriters: rng.IntN(5) == 0, oneHost: rng.IntN(5) == 0, pageSize: pick(rng, 512, 512, 1024, 4096)}
	weights := simSteps
	if p.primary {
		weights = simPrimarySteps
	}
	var names []string
	for _, w := range weights {
		for range w.weight {
			names = append(names, w.name)
		}
	}
	for range 15 + rng.IntN(26) {
		p.steps = append(p.steps, simStep{pick(rng, names...), rng.IntN(12), rng.Uint64()})
	}
	return p
}

// simCounts counts what happens in worlds.
type simCounts struct{ commits, reads, syncs, crashes, troubles, losses, travels, restores, broken int }

func (c *simCounts) add(d simCounts) {
	c.commits += d.commits
	c.reads += d.reads
	c.syncs += d.syncs
	c.crashes += d.crashes
	c.troubles += d.troubles
	c.losses += d.losses
	c.travels += d.travels
	c.restores += d.restores
	c.broken += d.broken
}

// String returns the counts for a log.
func (c simCounts) String() string {
	type plain simCounts
	return fmt.Sprintf("%+v", plain(c))
}

// simWorld is a world. One step happens at a time; what processes do in the
// background goes on meanwhile.
type simWorld struct {
	t       *testing.T
	seed    uint64
	plan    simPlan
	local   simBreak
	bucket  *sim.Bucket
	model   *sim.Model
	trace   *sim.Trace
	log     *slog.Logger
	dir     string
	primary *ltxtest.Primary // nil if processes write

	writers, readers []*simProcess
	slot             string // of readers that are opened for a look
	slots            []string

	synced    sim.Node // newest commit that is known to be on the replica
	calmSince time.Time
	calm      bool // the weather is good
	contended bool // commits may lose against others, or against those of a process that is gone
	pruned    map[ltx.TXID]bool

	clock      sim.Clock // of the operator
	goroutines int       // when the world began
	openFiles  int       // when the world began
	checks     int       // of local files that were due
	stop       chan struct{}
	counts     simCounts
	violation  *sim.Violation
}

func newSimWorld(t *testing.T, seed uint64, broken sim.Break, local simBreak, plan simPlan, slots []string, log *slog.Logger) *simWorld {
	w := &simWorld{
		t: t, seed: seed, plan: plan, local: local, model: sim.NewModel(), trace: sim.NewTrace(), log: log, dir: t.TempDir(),
		slot: slots[0], slots: slots[1:], calm: true, contended: plan.twoWriters && local != simBreakGiveUp, pruned: make(map[ltx.TXID]bool), stop: make(chan struct{}),
	}
	w.bucket = sim.NewBucket(seed, broken, w.trace)
	w.setWeather(simCalm)
	w.goroutines, w.openFiles = runtime.NumGoroutine(), len(openFiles())
	w.clock = sim.NewClock(sim.NewRand(seed, "clock of the operator"))
	rng := sim.NewRand(seed, "parties")
	if plan.primary {
		w.newPrimary(rng)
	} else {
		w.writers = append(w.writers, w.newProcess(rng, "writer1", true))
		if plan.twoWriters {
			w.writers = append(w.writers, w.newProcess(rng, "writer2", true))
		}
	}
	for i := range 2 {
		w.readers = append(w.readers, w.newProcess(rng, fmt.Sprint("reader", i+1), false))
	}
	if plan.oneHost {
		for _, p := range w.readers {
			p.opts.HydrationEnabled, p.opts.HydrationMode, p.opts.HydrationPath = true, litestream.HydrateAll, filepath.Join(w.dir, "copy")
		}
	}
	return w
}

// fixDelays makes the delays between retries those of the seed.
func (w *simWorld) fixDelays() (restore func()) {
	return jitter.Replace(func(d time.Duration) time.Duration {
		h := fnv.New64a()
		fmt.Fprint(h, w.seed, time.Now().UnixNano(), d)
		return d/2 + time.Duration(h.Sum64()%uint64(d))
	})
}

// run plays the plan and then looks at what is left.
func (w *simWorld) run() {
	for i, step := range w.plan.steps {
		w.trace.Add("step %d: %v", i, step)
		w.step(step)
		synctest.Wait()
		w.check()
		if w.violation != nil {
			break
		}
	}
	w.end()
}

// fail records that a rule is broken.
func (w *simWorld) fail(rule sim.Rule, format string, args ...any) {
	w.failed(sim.Violated(rule, format, args...))
}

// failed records a violation, unless it is nil.
func (w *simWorld) failed(v *sim.Violation) {
	if v != nil && w.violation == nil {
		w.violation = v
		w.trace.Add("BROKEN: %v", v)
	}
}

// trouble records an error of something that a process did. In calm weather there
// must be none.
func (w *simWorld) trouble(p *simProcess, op string, err error) {
	if errors.Is(err, litestream.ErrConflict) {
		p.lose(op)
	}
	w.counts.troubles++
	w.trace.Add("%s: %s: %v", p.name, op, err)
	p.noticeLoss(op)
	if w.isCalm() && !p.hasExcuse() {
		w.fail(ruleCalm, "%s: %s: %v", p.name, op, err)
	}
}

// isCalm reports whether the weather has been good for so long that nothing fails
// any more because of what was before.
func (w *simWorld) isCalm() bool { return w.calm && time.Since(w.calmSince) > simSettled }

// check looks at what holds after each step.
func (w *simWorld) check() {
	w.failed(w.bucket.Violated())
	for _, p := range w.processes() {
		p.collect()
	}
	if n := runtime.NumGoroutine() - w.goroutines; n > 400 {
		w.fail(ruleLeft, "there are %d goroutines", n)
	}
	if w.checks++; w.checks%8 != 0 {
		return
	}
	if n := len(openFiles()) - w.openFiles; n > 300 {
		w.fail(ruleLeft, "%d files are open", n)
	}
	files := 0
	_ = filepath.WalkDir(w.dir, func(string, os.DirEntry, error) error { files++; return nil })
	if files > 300 {
		w.fail(ruleLeft, "there are %d local files", files)
	}
}

func (w *simWorld) processes() []*simProcess {
	return append(append([]*simProcess(nil), w.writers...), w.readers...)
}

// markSynced records that a commit was acknowledged as being on the replica.
func (w *simWorld) markSynced(by string, n sim.Node) {
	w.counts.syncs++
	var head sim.Node
	var txid ltx.TXID
	if reachable, err := w.bucket.Reachable(); err != nil {
		w.t.Error(err)
	} else if len(reachable) > 0 {
		txid = slices.Max(reachable)
		head = w.bucket.Node(txid)
	}
	if !w.model.Has(head, n) {
		w.fail(ruleSynced, "%s: a sync has succeeded, and transaction %d has %s, without %s", by, txid, w.model.Describe(head), w.model.Describe(n))
		return
	}
	switch {
	case w.model.Has(n, w.synced):
		w.synced = n
	case !w.model.Has(w.synced, n):
		w.fail(ruleSynced, "%s: %s was synced after %s", by, w.model.Describe(n), w.model.Describe(w.synced))
	}
}

// simCalm is good weather.
var simCalm = sim.Weather{Latency: 20 * time.Millisecond}

// setWeather changes the network.
func (w *simWorld) setWeather(weather sim.Weather) {
	if w.local == simBreakDead && w.calmSince != (time.Time{}) {
		weather.Refuse = 1000
	}
	w.bucket.SetWeather(weather)
	calm := weather.Refuse+weather.Lose+weather.Repeat+weather.Late+weather.Cut == 0 || w.local == simBreakDead
	if calm && !w.calm || w.calmSince.IsZero() {
		w.calmSince = time.Now()
	}
	w.calm = calm
}

// randomWeather returns weather that is bad in a random way.
func randomWeather(rng *rand.Rand) sim.Weather {
	w := sim.Weather{Latency: pick(rng, 20*time.Millisecond, 300*time.Millisecond, 3*time.Second)}
	switch rng.IntN(6) {
	case 0:
		w.Refuse = 1000
	case 1:
		w.Refuse, w.Lose = 300, 300
	case 2:
		w.Repeat, w.Late = 300, 300
	case 3:
		w.Cut = 300
	default:
		w.Refuse, w.Lose, w.Repeat, w.Late, w.Cut = rng.IntN(200), rng.IntN(200), rng.IntN(200), rng.IntN(200), rng.IntN(200)
	}
	return w
}
