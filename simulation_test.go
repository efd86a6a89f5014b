package litestream_test

import (
	"cmp"
	"flag"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
)

var (
	simSeeds = flag.Int("sim.seeds", 0, "number of seeds of TestSimulation; 0: as many as the gate runs")
	simFirst = flag.Uint64("sim.first", 0, "first seed of TestSimulation")
	simSeed  = flag.Int64("sim.seed", -1, "run this seed of TestSimulation only, and show its trace")
)

// TestSimulation runs worlds in which processes read and write one database while
// storage, disks and processes fail. The seed decides what happens:
//
//	go test -run 'TestSimulation$' -sim.seed=N .
//
// A run that breaks a rule is repeated, to see whether it does so again, and made
// shorter before its trace is printed.
func TestSimulation(t *testing.T) {
	first, n := *simFirst, uint64(cmp.Or(*simSeeds, simScale(1000)))
	if *simSeed >= 0 {
		first, n = uint64(*simSeed), 1
	}
	s := newSimulator(t)
	var total simCounts
	failures := 0
	for seed := first; seed < first+n; seed++ {
		result := s.run(seed, sim.BreakNothing, simBreakNothing, newSimPlan(seed), *simSeed >= 0)
		total.add(result.counts)
		if result.violation != nil {
			s.report(seed, result.violation)
			if failures++; failures == 3 {
				break
			}
		} else if *simSeed >= 0 {
			t.Logf("trace:\n%s", result.trace)
		}
	}
	t.Logf("%d seeds: %s", n, total)
	if n >= 100 && (total.commits < int(n) || total.reads < int(n) || total.crashes < int(n)/4 || total.syncs < int(n)/2 || total.troubles < int(n)/4) {
		t.Error("the worlds are too quiet")
	}
}

// simFound are seeds that have found something, in the product or in the model of the
// simulation. New random numbers are drawn from generators of their own, so that the
// plan of a seed stays what it was.
var simFound = []struct {
	seed  uint64
	found string
}{
	{104209, "a request of a dead process arrives after the file of that name was merged and deleted: its transaction alone is wrong"},
	{20109, "SQLite reads a page of an old state in COMMIT, and another writer has deleted its file"},
	{101804, "the disk is full when commits give way, so that they stay where they are until the next start"},
	{250107, "power fails while the header of a segment is written, and its version is 0: the buffer counted as one of a newer version"},
	{204512, "an operator prunes the file before one that is uploaded and not yet compared: the only writer gave up"},
	{277864, "two writers commit in the same millisecond: the commit of one counted as merged into the file of the other, and was not kept"},
	{228057, "COMMIT with SyncOnCommit reads a page of a file that another writer has deleted"},
	{273290, "a writer that uploads on request only reads files that another writer has deleted: every read failed until the next sync"},
	{275613, "litestream_wait for a transaction whose file is merged and deleted: polls asked for that file by its name until the limit"},
	{326040, "commits that follow others which are kept aside were replayed on the transaction of another writer"},
	{330549, "a process dies while it keeps commits aside: the later ones, which stayed, were replayed on the transaction of another writer"},
	{718567, "the newest known state is replaced while nothing polls: the first read of a transaction failed, before SQLite knew anything of the state"},
	{22375, "COMMIT fails because another writer has deleted the files, and the replica cannot prove that it is the same"},
}

// TestSimulation_Found runs the worlds that have found something.
func TestSimulation_Found(t *testing.T) {
	s := newSimulator(t)
	for _, f := range simFound {
		for range 3 { // the order of goroutines within a moment may matter
			if v := s.run(f.seed, sim.BreakNothing, simBreakNothing, newSimPlan(f.seed), false).violation; v != nil {
				t.Errorf("seed %d, which has found that %s: %v", f.seed, f.found, v)
			}
		}
	}
}

// simScale returns how many of n seeds a run of the tests has.
func simScale(n int) int {
	switch {
	case testscale.Race:
		return n / 60 // a world has hardly more goroutines at a time than other tests
	case testing.Short():
		return n / 20
	}
	return n
}

// TestSimulation_Same runs seeds twice. The plan, the weather, the clocks and the fate
// of each request follow from the seed, and intervals are such that two of them hardly
// ever end at the same moment. The goroutines of one process have no order within a
// moment: a prefetch and the read that it is for may come in either order, and then the
// second run has other requests. In three of four worlds nothing differs at all.
func TestSimulation_Same(t *testing.T) {
	testscale.NeedsNoRace(t, "its worlds are those of TestSimulation")
	s := newSimulator(t)
	const seeds = 24
	same := 0
	for seed := range uint64(seeds) {
		plan := newSimPlan(seed)
		if again := newSimPlan(seed); !reflect.DeepEqual(plan, again) {
			t.Errorf("seed %d: another plan: %v, then %v", seed, plan, again)
		}
		first := s.run(seed, sim.BreakNothing, simBreakNothing, plan, false)
		second := s.run(seed, sim.BreakNothing, simBreakNothing, plan, false)
		if withoutPaths(first.trace.Sorted()) == withoutPaths(second.trace.Sorted()) {
			same++
		}
	}
	t.Logf("%d of %d worlds were the same twice", same, seeds)
	if same < seeds/2 {
		t.Errorf("%d of %d worlds were the same twice", same, seeds)
	}
}

// withoutPaths returns a trace without the paths of local files, which have random
// parts.
func withoutPaths(trace string) string { return simPath.ReplaceAllString(trace, "/...") }

var simPath = regexp.MustCompile(`/\S*/\S*`)

// simulator runs worlds.
type simulator struct {
	t     *testing.T
	slots []string
	dir   string

	rest simRest
}

func newSimulator(t *testing.T) *simulator {
	s := &simulator{t: t, dir: t.TempDir()}
	for _, name := range []string{"TMPDIR", "XDG_STATE_HOME"} {
		t.Setenv(name, s.dir+"/"+strings.ToLower(name))
	}
	before := runtime.GOMAXPROCS(1)    // so that the goroutines of a moment mostly have one order
	percent := debug.SetGCPercent(400) // of a heap that is small
	t.Cleanup(func() {
		runtime.GOMAXPROCS(before)
		debug.SetGCPercent(percent)
	})
	for range simSlots {
		s.slots = append(s.slots, reuseSlot(t))
	}
	return s
}

// simResult is what a run has shown.
type simResult struct {
	violation *sim.Violation
	trace     *sim.Trace
	counts    simCounts
}

// run runs a plan in a world of its own.
func (s *simulator) run(seed uint64, broken sim.Break, local simBreak, plan simPlan, show bool) (result simResult) {
	s.t.Helper()
	for _, name := range []string{"TMPDIR", "XDG_STATE_HOME"} {
		if err := os.MkdirAll(os.Getenv(name), 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	defer func() {
		for _, name := range []string{"TMPDIR", "XDG_STATE_HOME"} {
			if err := os.RemoveAll(os.Getenv(name)); err != nil {
				s.t.Error(err)
			}
		}
	}()
	log := slog.New(slog.DiscardHandler)
	if show {
		log = testlog.New(s.t, nil)
	}
	synctest.Test(s.t, func(t *testing.T) {
		defer nameSeed(seed)
		w := newSimWorld(t, seed, broken, local, plan, s.slots, log)
		restore := w.fixDelays()
		defer restore()
		w.run()
		result = simResult{w.violation, w.trace, w.counts}
		result.counts.broken += w.bucket.Broken()
	})
	result.counts.broken += s.rest.leave(local)
	if v := s.rest.look(); result.violation == nil {
		result.violation = v
	}
	return result
}

// simRepeats is how often a run that breaks a rule is repeated.
const simRepeats = 5

// report makes a run that breaks a rule shorter, and shows what is left.
func (s *simulator) report(seed uint64, v *sim.Violation) {
	s.t.Helper()
	plan := newSimPlan(seed)
	last := simResult{violation: v}
	begin, again := time.Now(), 0
	for range simRepeats {
		if r := s.run(seed, sim.BreakNothing, simBreakNothing, plan, false); r.violation != nil {
			again++
		}
	}
	plan.steps = sim.Shrink(plan.steps, 200, func(steps []simStep) bool {
		if time.Since(begin) > 30*time.Second {
			return false
		}
		part := plan
		part.steps = steps
		result := s.run(seed, sim.BreakNothing, simBreakNothing, part, false)
		if result.violation == nil || result.violation.Rule != v.Rule {
			return false
		}
		last = result
		return true
	})
	var steps []string
	for _, step := range plan.steps {
		steps = append(steps, step.String())
	}
	s.t.Errorf("seed %d: %v\nit breaks a rule in %d of %d repetitions: go test -run 'TestSimulation$' -sim.seed=%d .\nthe shortest run found has %d steps: %s\n%v\n%s",
		seed, v, again, simRepeats, seed, len(steps), strings.Join(steps, "; "), last.violation, last.trace)
}
