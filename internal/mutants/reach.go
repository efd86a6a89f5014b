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
// names, and is learned anew for a larger sample.
type reach struct {
	Mutants []string              // keys
	Tests   map[string]testRecord // by directory and name
}

type testRecord struct {
	Took    time.Duration
	Failed  bool
	Reaches []int // indices of Mutants
}

// measure runs each test without mutants, and records how long it takes and which
// mutants it reaches.
func (t *tester) measure() error {
	name := filepath.Join(t.state, "reach.json")
	t.reach = &reach{}
	if text, err := os.ReadFile(name); err == nil {
		if err := json.Unmarshal(text, t.reach); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	index := make(map[string]int)
	for i, key := range t.reach.Mutants {
		index[key] = i
	}
	for _, m := range t.sample.mutants {
		if _, ok := index[m.key()]; !ok {
			t.reach = &reach{Tests: make(map[string]testRecord)}
			clear(index)
			for i, m := range t.sample.mutants {
				t.reach.Mutants = append(t.reach.Mutants, m.key())
				index[m.key()] = i
			}
			break
		}
	}
	for _, s := range t.suites {
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
			if err := t.measureOne(s, name, index); err != nil {
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

func (t *tester) measureOne(s *suite, name string, index map[string]int) error {
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
			if reached[m.id] != 0 {
				record.Reaches = append(record.Reaches, index[m.key()])
			}
		}
		slices.Sort(record.Reaches)
		t.reach.Tests[key] = record
	}
	if record.Failed {
		return nil
	}
	c := &test{suite: s, name: name, took: record.Took, reaches: make(map[string]bool)}
	for _, i := range record.Reaches {
		c.reaches[t.reach.Mutants[i]] = true
	}
	s.tests = append(s.tests, c)
	return nil
}
