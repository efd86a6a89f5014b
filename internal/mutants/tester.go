package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/mutants/active"
)

// tester runs tests against mutants.
type tester struct {
	options
	tmp         string
	sample      *sample
	results     *results
	interrupted <-chan os.Signal

	suites []*suite
	reach  *reach
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

var errInterrupted = errors.New("interrupted")

// all runs all mutants that have no result yet.
func (t *tester) all() error {
	var waiting []*mutant
	retry := strings.Split(t.retry, ",")
	for _, m := range t.sample.mutants {
		if o := t.sample.outcome(t.results, m); o == "" || slices.Contains(retry, string(o)) {
			waiting = append(waiting, m)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	dirs := strings.Split(t.packages, ",")
	for _, dir := range strings.Split(t.depending, ",") {
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for i, dir := range dirs {
		log.Printf("compile the tests of %s", dir)
		s := &suite{dir: dir, binary: filepath.Join(t.tmp, fmt.Sprintf("%d.test", i))}
		if _, err := goCommand("test", "-c", "-vet=off", "-overlay", t.sample.overlay, "-o", s.binary, "./"+dir); err != nil {
			return err
		}
		if _, err := os.Stat(s.binary); err == nil { // there is none without tests
			t.suites = append(t.suites, s)
		}
	}
	if err := t.measure(); err != nil {
		return err
	}
	for i, m := range waiting {
		select {
		case <-t.interrupted:
			return errInterrupted
		default:
		}
		began := time.Now()
		one, err := t.one(m)
		if err != nil {
			return err
		}
		one.Key = m.key()
		one.Seconds = time.Since(began).Seconds()
		if err := t.results.add(one); err != nil {
			return err
		}
		log.Printf("%d/%d %s %s %s(%d tests, %.1f s)", i+1, len(waiting), one.Outcome, m, one.By+" ", one.Tests, one.Seconds)
	}
	return nil
}

// one runs the tests that reach a mutant: those of its package, and cheap ones of
// others.
func (t *tester) one(m *mutant) (result, error) {
	var own, others []*test
	for _, s := range t.suites {
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
	if len(own)+len(others) == 0 {
		return result{Outcome: unreached}, nil
	}
	one := result{Outcome: survived}
	byTime := func(a, b *test) int { return int(a.took - b.took) }
	slices.SortFunc(own, byTime)
	slices.SortFunc(others, byTime)
	budget := t.budget
	for i, c := range others {
		if budget -= c.took; budget < 0 && i > 0 {
			others = others[:i]
			break
		}
	}
	for _, batch := range append(batches(own), batches(others)...) {
		for len(batch) > 0 && one.Outcome == survived {
			r, failed, err := t.run(batch, m.id)
			if err != nil {
				return one, err
			}
			one.Tests += len(batch)
			if !r.failed {
				break
			}
			// A test that fails without the mutant as well says nothing about it.
			if !r.timedOut && failed != nil {
				again, _, err := t.run([]*test{failed}, 0)
				if err != nil {
					return one, err
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
			if failed == nil && len(batch) == 1 {
				failed = batch[0]
			}
			one.By = batch[0].suite.dir
			if failed != nil {
				one.By += " " + failed.name
			}
		}
	}
	return one, nil
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
	limit := 20 * time.Second
	for i, c := range tests {
		names[i] = regexp.QuoteMeta(c.name)
		limit += 10 * c.took
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
