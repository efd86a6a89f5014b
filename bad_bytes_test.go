package litestream_test

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/badbytes"
	"github.com/ltxvfs/litestream/internal/sim"
	"github.com/ltxvfs/litestream/internal/testscale"
)

var (
	badSeeds = flag.Int("badbytes.seeds", 0, "number of seeds of TestBadBytes; 0: as many as the gate runs")
	badFirst = flag.Uint64("badbytes.first", 0, "first seed of TestBadBytes")
	badSeed  = flag.Int64("badbytes.seed", -1, "run this seed of TestBadBytes only, and show its log")
	badScene = flag.String("badbytes.scene", "", "run this scene only, whatever the seed says")
	badAt    = flag.String("badbytes.at", "", "file that gets the seed that runs, for one that ends the process")
)

// The limits of a run.
const (
	badMemory = 300 << 20       // bytes that are allocated, whether or not they are freed meanwhile
	badTime   = 2 * time.Minute // on the clock; nearly all runs take some milliseconds
)

// TestBadBytes damages replicas and what lies beside them, and uses them in every
// way. The seed decides what happens:
//
//	go test -run 'TestBadBytes$' -badbytes.seed=N .
//
// Whatever the bytes are, nothing panics or hangs, memory is bounded, and nothing is
// left behind. Unless checksums were forged, each answer is an error or that of plain
// SQLite for a state of the intact replica.
func TestBadBytes(t *testing.T) {
	first, n := *badFirst, uint64(cmp.Or(*badSeeds, badScale(400)))
	if *badSeed >= 0 {
		first, n = uint64(*badSeed), 1
	}
	r := newBadRunner(t)
	failures := 0
	for seed := first; seed < first+n; seed++ {
		result := r.run(seed, badbytes.NewPlan(seed), *badSeed >= 0)
		if *badSeed >= 0 {
			t.Logf("scene %s of %s: %s", result.scene, result.sample, strings.Join(result.damage.Notes, "; "))
		}
		r.counts.add(result)
		if result.violation != "" {
			r.report(seed, result)
			if failures++; failures == 10 {
				break
			}
		}
	}
	t.Logf("%d seeds: %s", n, r.counts)
	if n >= 100 && *badScene == "" && (r.counts.right < n/2 || r.counts.errors < n/2 || r.counts.forged < n/5 || r.counts.intact > n/3) {
		t.Error("the damages do too little, or too much")
	}
	r.checkProcess(t)
}

// badScale returns how many of n seeds a run of the tests has.
func badScale(n int) int {
	if testscale.Race {
		return n / 10
	}
	return testscale.Repeats(n)
}

// badCounts count what the runs have shown.
type badCounts struct {
	right, errors, forged, intact uint64
	scenes                        map[string]int
}

func (c *badCounts) add(r badResult) {
	c.right += uint64(r.right)
	c.errors += uint64(r.errors)
	c.scenes[r.scene]++
	switch {
	case len(r.damage.Notes) == 0:
		c.intact++
	case r.damage.Forged:
		c.forged++
	}
}

func (c badCounts) String() string {
	return fmt.Sprintf("%d answers, %d errors, %d forged, %d without damage to the replica, scenes %v", c.right, c.errors, c.forged, c.intact, c.scenes)
}

// badRunner runs seeds.
type badRunner struct {
	t          *testing.T
	samples    []*badSample
	slots      []string
	dir        string // has the temporary files of a run
	counts     badCounts
	memory     []metrics.Sample
	files      int // open files before the first run
	goroutines int // before the first run
}

func newBadRunner(t *testing.T) *badRunner {
	r := &badRunner{t: t, dir: t.TempDir(), samples: badSamples(t)}
	r.memory = []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	r.counts.scenes = map[string]int{}
	for _, name := range []string{"TMPDIR", "XDG_STATE_HOME"} {
		t.Setenv(name, r.dir)
	}
	for range badSlots {
		r.slots = append(r.slots, reuseSlot(t))
	}
	// Descriptors that stay open, such as those of temporary files of SQLite, are
	// opened by then.
	r.run(0, badbytes.NewPlan(0), false)
	r.files, r.goroutines = len(openFiles()), runtime.NumGoroutine()
	return r
}

// openFiles returns what the process has open, nothing where that is not known.
func openFiles() (files []string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		name, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil { // not the folder that was read
			files = append(files, name)
		}
	}
	return files
}

// goroutinesLeft returns how many goroutines there are more than before the first
// run. Those that are about to end get the time for it.
func (r *badRunner) goroutinesLeft() (n int) {
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		n = runtime.NumGoroutine() - r.goroutines
		if r.goroutines == 0 {
			return 0
		}
		if n <= 0 || time.Now().After(deadline) {
			return n
		}
	}
}

// badResult is what a run has shown.
type badResult struct {
	scene, sample string
	damage        badbytes.Damage
	violation     string
	right, errors int
}

// allocated returns how many bytes were allocated so far.
func (r *badRunner) allocated() uint64 {
	metrics.Read(r.memory)
	return r.memory[0].Value.Uint64()
}

// run runs a plan in the scene of a seed.
func (r *badRunner) run(seed uint64, plan badbytes.Plan, show bool) badResult {
	r.t.Helper()
	if *badAt != "" {
		if err := os.WriteFile(*badAt, []byte(strconv.FormatUint(seed, 10)+"\n"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	watchdog := time.AfterFunc(badTime, func() {
		fmt.Fprintf(os.Stderr, "seed %d hangs\n", seed)
		buf := make([]byte, 1<<20)
		os.Stderr.Write(buf[:runtime.Stack(buf, true)])
		os.Exit(3)
	})
	defer watchdog.Stop()
	before := r.allocated()
	w := newBadWorld(r, seed, plan, show)
	synctest.Test(r.t, func(t *testing.T) {
		defer nameSeed(seed)
		w.t = t
		w.play()
	})
	if n := r.allocated() - before; n > badMemory {
		w.fail("%d MiB were allocated", n>>20)
	}
	left, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != filepath.Base(w.dir) {
			w.fail("%s is left", e.Name())
		}
		if err := os.RemoveAll(filepath.Join(r.dir, e.Name())); err != nil {
			r.t.Fatal(err)
		}
	}
	files := openFiles()
	for deadline := time.Now().Add(10 * time.Second); len(files) > r.files && time.Now().Before(deadline); files = openFiles() {
		runtime.GC() // segments of a write buffer that pinned views may read end with the memory
		runtime.Gosched()
	}
	if len(files) > r.files && r.goroutines > 0 {
		w.fail("%d files are open, %d before: %s", len(files), r.files, strings.Join(files, ", "))
		r.files = len(files)
	}
	if n := r.goroutinesLeft(); n > 0 {
		buf := make([]byte, 1<<20)
		w.fail("%d goroutines more than before:\n%s", n, buf[:runtime.Stack(buf, true)])
	}
	return w.result
}

// nameSeed prints the seed of a run that panics. It is deferred in the bubble of the
// run, whose goroutine ends the process.
func nameSeed(seed uint64) {
	if p := recover(); p != nil {
		fmt.Fprintf(os.Stderr, "seed %d panics\n", seed)
		panic(p)
	}
}

// report makes the plan of a violation shorter, and shows what is left.
func (r *badRunner) report(seed uint64, result badResult) {
	r.t.Helper()
	begin, last := time.Now(), result
	plan := sim.Shrink(badbytes.NewPlan(seed), 60, func(part []badbytes.Step) bool {
		if time.Since(begin) > 30*time.Second {
			return false
		}
		again := r.run(seed, part, false)
		if again.violation == "" {
			return false
		}
		last = again
		return true
	})
	r.t.Errorf("seed %d, scene %s of %s: %s\ngo test -run 'TestBadBytes$' -badbytes.seed=%d .\nthe shortest plan found has %d steps: %s\n%s",
		seed, result.scene, result.sample, result.violation, seed, len(plan), strings.Join(last.damage.Notes, "; "), last.violation)
}

// checkProcess looks at what the process has used at most.
func (r *badRunner) checkProcess(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return // another system
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") || strings.HasPrefix(line, "VmRSS:") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// badWorld is one run.
type badWorld struct {
	runner  *badRunner
	t       *testing.T // of the bubble
	seed    uint64
	rng     *rand.Rand
	sample  *badSample
	intact  badbytes.Replica
	damaged badbytes.Replica
	lax     bool // not every damage is noticed: checksums are right, or only whole files have them
	dir     string
	log     *slog.Logger

	mu     sync.Mutex
	result badResult // its violation and counts are guarded by mu
}

func newBadWorld(r *badRunner, seed uint64, plan badbytes.Plan, show bool) *badWorld {
	rng := rand.New(rand.NewPCG(seed, 0x5ce4e))
	sample := r.samples[min(rng.IntN(len(r.samples)), rng.IntN(len(r.samples)))]
	w := &badWorld{runner: r, seed: seed, rng: rng, sample: sample, intact: sample.replica, damaged: sample.replica.Clone()}
	w.result.sample = sample.name
	w.result.damage = plan.Apply(w.damaged)
	w.lax = w.result.damage.Forged
	for key, body := range w.damaged {
		if len(body) > wholeSize && !bytes.Equal(body, w.intact[key]) {
			w.lax = true // single pages of a large file have no checksum
		}
	}
	var err error
	if w.dir, err = os.MkdirTemp(r.dir, "world-"); err != nil {
		r.t.Fatal(err)
	}
	var out io.Writer = io.Discard
	level := slog.LevelError
	if show {
		out, level = &badOutput{t: r.t}, slog.LevelDebug
	}
	w.log = slog.New(&panicHandler{slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}), w})
	return w
}

// wholeSize is the size up to which a file is read whole, so that its checksum is
// verified before any of its pages is used.
const wholeSize = 128 << 10

// fail records what went wrong first.
func (w *badWorld) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.result.violation == "" {
		w.result.violation = fmt.Sprintf(format, args...)
	}
}

// note counts an answer or an error.
func (w *badWorld) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.result.errors++
	} else {
		w.result.right++
	}
}

// panicHandler makes a panic that the library has recovered a violation.
type panicHandler struct {
	slog.Handler
	world *badWorld
}

// Handle implements slog.Handler.
func (h *panicHandler) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Message == "panic" {
		var text strings.Builder
		rec.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&text, "%s ", a.Value); return true })
		h.world.fail("panic: %s", text.String())
	}
	return h.Handler.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (h *panicHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &panicHandler{h.Handler.WithAttrs(attrs), h.world}
}

// WithGroup implements slog.Handler.
func (h *panicHandler) WithGroup(name string) slog.Handler {
	return &panicHandler{h.Handler.WithGroup(name), h.world}
}

// badOutput writes to the log of the test.
type badOutput struct{ t *testing.T }

// Write implements io.Writer.
func (o *badOutput) Write(b []byte) (int, error) {
	o.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// replace replaces the files of a store that is in use. A store without versions
// does not tell that a file has other content now, and a page of it is read alone.
func (w *badWorld) replace(client *badbytes.Client, files badbytes.Replica) {
	for key, body := range client.Files() {
		if other, ok := files[key]; ok && !bytes.Equal(body, other) {
			w.lax = true
		}
	}
	client.Set(files)
}
