package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/mutants/active"
)

// tester runs tests against mutants.
type tester struct {
	options
	tmp     string
	sample  *sample
	results *results

	reach *reach // nil until the first suite is measured
}

// suite is the tests of a package, compiled with all mutants.
type suite struct {
	dir    string
	binary string
	tests  []*test
}

type test struct {
	suite   *suite
	name    string
	took    time.Duration   // without mutants
	reaches map[string]bool // keys of mutants
}

// all runs all mutants that have no result yet. The tests of the packages that are
// mutated run first, and the survivors meet those of the packages that depend on them.
func (t *tester) all(ctx context.Context) error {
	var waiting []*mutant
	retry := strings.Split(t.retry, ",")
	for _, m := range t.sample.mutants {
		if o := t.sample.outcome(t.results, m); o == "" || slices.Contains(retry, string(o)) {
			waiting = append(waiting, m)
		}
	}
	depending := strings.FieldsFunc(t.depending, func(r rune) bool { return r == ',' })
	var mutated []string
	for _, dir := range strings.Split(t.packages, ",") {
		if !slices.Contains(depending, dir) {
			mutated = append(mutated, dir)
		}
	}
	for i, dirs := range [][]string{mutated, depending} {
		if len(waiting) == 0 || i == 0 && (len(dirs) == 0 || !t.own) {
			continue
		}
		suites, err := t.compile(dirs)
		if err != nil {
			return err
		}
		if err := t.measure(ctx, suites); err != nil {
			return err
		}
		isLast := i == 1
		if waiting, err = t.stage(ctx, suites, waiting, isLast); err != nil {
			return err
		}
	}
	return nil
}

// compile compiles the tests of some packages.
func (t *tester) compile(dirs []string) (suites []*suite, err error) {
	folder := filepath.Join(t.state, "bin")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	// The numbers of mutants are those of one sample.
	of := filepath.Join(folder, "sample")
	if !t.isCompiled {
		if err := os.WriteFile(of, []byte(t.sample.sum), 0o644); err != nil {
			return nil, err
		}
	} else if sum, err := os.ReadFile(of); err != nil || string(sum) != t.sample.sum {
		return nil, errors.New("the test binaries of the last run have other mutants: run without -compiled")
	}
	for _, dir := range dirs {
		s := &suite{dir: dir, binary: filepath.Join(folder, strings.ReplaceAll(dir, "/", "-")+".test")}
		if t.isCompiled {
			log.Printf("use %s", s.binary)
		} else {
			log.Printf("compile the tests of %s", dir)
			if _, err := goCommand("test", "-c", "-vet=off", "-overlay", t.sample.overlay, "-o", s.binary, "./"+dir); err != nil {
				return nil, err
			}
		}
		if _, err := os.Stat(s.binary); err == nil { // there is none without tests
			suites = append(suites, s)
		}
	}
	return suites, nil
}

// stage runs the tests of some suites against mutants, and returns those that
// survived. In the last stage, that is their result.
func (t *tester) stage(ctx context.Context, suites []*suite, waiting []*mutant, isLast bool) ([]*mutant, error) {
	hasResult := make([]bool, len(waiting))
	err := t.each(ctx, len(waiting), func(i int) error {
		m := waiting[i]
		began := time.Now()
		one, err := t.one(m, suites)
		if err != nil {
			return err
		}
		m.tests += one.Tests
		m.seconds += time.Since(began).Seconds()
		one.Key, one.Tests, one.Seconds = m.key(), m.tests, m.seconds
		if one.Outcome == survived && one.Tests == 0 {
			one.Outcome = unreached
		}
		if hasResult[i] = isLast || one.Outcome == killed || one.Outcome == timeout; hasResult[i] {
			if err := t.results.add(one); err != nil {
				return err
			}
		}
		so := ""
		if !hasResult[i] {
			so = "so far "
		}
		log.Printf("%d/%d %s%s %s %s (%d tests, %.1f s)", i+1, len(waiting), so, one.Outcome, m, one.By, one.Tests, one.Seconds)
		return nil
	})
	var rest []*mutant
	for i, m := range waiting {
		if !hasResult[i] {
			rest = append(rest, m)
		}
	}
	return rest, err
}

// each calls do with the numbers below n, for some of them at a time, until a call fails
// or the program is interrupted.
func (t *tester) each(ctx context.Context, n int, do func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range t.workers {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				if err := do(int(i)); err != nil {
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

// one runs the tests of some suites that reach a mutant: those of its package, and then
// those of others, the cheapest ones first.
func (t *tester) one(m *mutant, suites []*suite) (result, error) {
	var own, others []*test
	for _, s := range suites {
		for _, c := range s.tests {
			if !c.reaches[m.key()] {
				continue
			}
			if s.dir == m.dir() && s.dir != "." {
				own = append(own, c)
			} else {
				others = append(others, c)
			}
		}
	}
	one := result{Outcome: survived}
	byTime := func(a, b *test) int { return int(a.took - b.took) }
	slices.SortFunc(own, byTime)
	slices.SortFunc(others, byTime)
	for _, batch := range append(batches(affordable(t.budget, own)), batches(affordable(t.budget, others))...) {
		if err := t.batch(&one, batch, m); err != nil || one.Outcome != survived {
			return one, err
		}
	}
	return one, nil
}

// affordable returns the first tests that take no longer than a time together, one at
// least.
func affordable(budget time.Duration, tests []*test) []*test {
	for i, c := range tests {
		if budget -= c.took; budget < 0 && i > 0 {
			return tests[:i]
		}
	}
	return tests
}

// batch runs some tests of a suite against a mutant.
func (t *tester) batch(one *result, batch []*test, m *mutant) error {
	for len(batch) > 0 {
		r, failed, err := t.run(batch, m.id)
		if err != nil {
			return err
		}
		one.Tests += len(batch)
		if !r.failed {
			return nil
		}
		// A test that fails without the mutant as well says nothing about it.
		if !r.timedOut && failed != nil {
			again, _, err := t.run([]*test{failed}, 0)
			if err != nil {
				return err
			}
			if again.failed {
				log.Printf("%s of %s fails without the mutant too", failed.name, failed.suite.dir)
				i := slices.Index(batch, failed)
				batch = slices.Delete(slices.Clone(batch), i, i+1)
				continue
			}
		}
		one.Outcome = killed
		if r.timedOut {
			one.Outcome = timeout
		}
		one.By = batch[0].suite.dir
		if failed != nil {
			one.By += " " + failed.name
		} else if len(batch) == 1 {
			one.By += " " + batch[0].name
		}
		return nil
	}
	return nil
}

// batches groups tests that are sorted by time into runs of a binary, the first
// ones short.
func batches(tests []*test) [][]*test {
	var all [][]*test
	open := make(map[*suite]int) // index of the suite's last batch
	length := make(map[int]time.Duration)
	bound := make(map[*suite]time.Duration)
	for _, c := range tests {
		i, ok := open[c.suite]
		if !ok || length[i] > bound[c.suite] {
			i = len(all)
			all = append(all, nil)
			open[c.suite] = i
			bound[c.suite] = max(time.Second/4, 2*bound[c.suite])
		}
		all[i] = append(all[i], c)
		length[i] += c.took
	}
	return all
}

var failLine = regexp.MustCompile(`(?m)^\s*--- FAIL: ([^/\s]+)`)

// run runs some tests of a suite, and returns one that failed if its output says so.
func (t *tester) run(tests []*test, mutant int) (ran, *test, error) {
	names := make([]string, len(tests))
	limit := 5 * time.Second
	for i, c := range tests {
		names[i] = regexp.QuoteMeta(c.name)
		limit += 5 * c.took
	}
	s := tests[0].suite
	args := []string{"-test.short", "-test.failfast", "-test.timeout=0", "-test.run=^(" + strings.Join(names, "|") + ")$"}
	env := []string{fmt.Sprintf("%s=%d", active.Mutant, mutant)}
	r, err := t.process(s, args, env, limit)
	if err != nil || !r.failed {
		return r, nil, err
	}
	if match := failLine.FindSubmatch(r.output); match != nil {
		if i := slices.IndexFunc(tests, func(c *test) bool { return c.name == string(match[1]) }); i >= 0 {
			return r, tests[i], nil
		}
	}
	return r, nil, nil
}

// process runs a test binary in a folder for temporary files of its own.
func (t *tester) process(s *suite, args, env []string, limit time.Duration) (ran, error) {
	tmp, err := os.MkdirTemp(t.tmp, "run")
	if err != nil {
		return ran{}, err
	}
	defer os.RemoveAll(tmp)
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return ran{}, err
	}
	return start(dir, s.binary, args, append(env, "TMPDIR="+tmp, "XDG_STATE_HOME="+filepath.Join(tmp, "state")), limit, t.memory)
}
