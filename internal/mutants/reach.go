package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/mutants/active"
)

// reach is what earlier runs learned about tests. It holds for the mutants that it
// names. A test reaches another one if it reaches any mutant of the same file, as far
// as is known.
type reach struct {
	Mutants []string              // keys
	Tests   map[string]testRecord // by directory and name

	index map[string]int // of the mutants
}

type testRecord struct {
	Took    time.Duration
	Failed  bool
	Reaches []int // indices of Mutants
}

// maxNewMutants is which part of the mutants may be unknown to earlier runs. With more,
// what they learned is forgotten.
const maxNewMutants = 0.1

// readReach reads what earlier runs learned, as far as it is of use.
func (t *tester) readReach() (*reach, error) {
	name := filepath.Join(t.state, "reach.json")
	r := &reach{index: make(map[string]int)}
	if text, err := os.ReadFile(name); err == nil {
		if err := json.Unmarshal(text, r); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	for i, key := range r.Mutants {
		r.index[key] = i
	}
	unknown := 0
	for _, m := range t.sample.mutants {
		if _, ok := r.index[m.key()]; !ok {
			unknown++
		}
	}
	if float64(unknown) > maxNewMutants*float64(len(t.sample.mutants)) {
		r = &reach{Tests: make(map[string]testRecord), index: make(map[string]int)}
		for i, m := range t.sample.mutants {
			r.Mutants = append(r.Mutants, m.key())
			r.index[m.key()] = i
		}
	}
	return r, nil
}

// measure runs each test of some suites without mutants, and records how long it takes
// and which mutants it reaches.
func (t *tester) measure(suites []*suite) (err error) {
	if t.reach == nil {
		if t.reach, err = t.readReach(); err != nil {
			return err
		}
	}
	for _, s := range suites {
		r, err := t.process(s, []string{"-test.list=^(Test|Fuzz|Example)"}, nil, time.Minute)
		if err != nil {
			return err
		}
		names := strings.Fields(string(r.output))
		log.Printf("%s has %d tests", s.dir, len(names))
		for _, name := range names {
			select {
			case <-t.interrupted:
				return t.save(errInterrupted)
			default:
			}
			if err := t.measureOne(s, name); err != nil {
				return err
			}
		}
		if err := t.save(nil); err != nil {
			return err
		}
	}
	return nil
}

func (t *tester) save(err error) error {
	text, e := json.Marshal(t.reach)
	if e != nil {
		return e
	}
	if e := os.WriteFile(filepath.Join(t.state, "reach.json"), text, 0o644); e != nil {
		return e
	}
	return err
}

func (t *tester) measureOne(s *suite, name string) error {
	key := s.dir + " " + name
	record, ok := t.reach.Tests[key]
	if !ok {
		file := filepath.Join(t.tmp, "reached")
		if err := os.WriteFile(file, make([]byte, active.Size), 0o600); err != nil {
			return err
		}
		r, err := t.process(s, []string{"-test.short", "-test.run=^" + name + "$"}, []string{active.Reached + "=" + file}, 5*time.Minute)
		if err != nil {
			return err
		}
		if record.Failed = r.failed; r.failed {
			log.Printf("%s of %s fails without mutants and is left out:\n%s", name, s.dir, r.output)
		}
		record.Took = r.took
		reached, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range t.sample.mutants {
			if i, ok := t.reach.index[m.key()]; ok && reached[m.id] != 0 {
				record.Reaches = append(record.Reaches, i)
			}
		}
		slices.Sort(record.Reaches)
		t.reach.Tests[key] = record
	}
	if record.Failed {
		return nil
	}
	c := &test{suite: s, name: name, took: record.Took, reaches: make(map[string]bool)}
	files := make(map[string]bool)
	for _, i := range record.Reaches {
		c.reaches[t.reach.Mutants[i]] = true
		file, _, _ := strings.Cut(t.reach.Mutants[i], "\t")
		files[file] = true
	}
	for _, m := range t.sample.mutants {
		if _, ok := t.reach.index[m.key()]; !ok && files[m.File] {
			c.reaches[m.key()] = true
		}
	}
	s.tests = append(s.tests, c)
	return nil
}
