package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"hash/fnv"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/mutants/active"
)

// reach is what earlier runs learned about tests. It holds for the mutants that it
// names. A test reaches another one if it reaches any mutant of the same file, as far
// as is known.
type reach struct {
	Mutants []string              // keys
	Tests   map[string]testRecord // by directory and name

	index map[string]int // of the mutants, does not change
}

type testRecord struct {
	Source  uint64 // sum of the function, which is measured again once it was changed
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
func (t *tester) measure(ctx context.Context, suites []*suite) (err error) {
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
		sources, err := testSources(s.dir)
		if err != nil {
			return err
		}
		saved := time.Now()
		var mu sync.Mutex // guards t.reach, s.tests and saved
		err = t.each(ctx, len(names), func(i int) error {
			key := s.dir + " " + names[i]
			mu.Lock()
			record, ok := t.reach.Tests[key]
			mu.Unlock()
			if ok = ok && record.Source == sources[names[i]]; !ok {
				var err error
				if record, err = t.measureOne(s, names[i]); err != nil {
					return err
				}
				record.Source = sources[names[i]]
			}
			mu.Lock()
			defer mu.Unlock()
			t.reach.Tests[key] = record
			if !record.Failed {
				s.tests = append(s.tests, t.reached(s, names[i], record))
			}
			// A process that is killed loses little of what it measured.
			if !ok && time.Since(saved) > time.Minute {
				saved = time.Now()
				return t.save()
			}
			return nil
		})
		if err := errors.Join(err, t.save()); err != nil {
			return err
		}
	}
	return nil
}

// testSources returns a sum of the text of each test of a package. What a test calls
// may change without the sum.
func testSources(dir string) (map[string]uint64, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	sums := make(map[string]uint64)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				h := fnv.New64a()
				h.Write(text[fset.Position(fn.Pos()).Offset:fset.Position(fn.End()).Offset])
				sums[fn.Name.Name] = h.Sum64()
			}
		}
	}
	return sums, nil
}

func (t *tester) save() error {
	text, err := json.Marshal(t.reach)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(t.state, "reach.json"), text, 0o644)
}

// measureOne runs a test without mutants.
func (t *tester) measureOne(s *suite, name string) (record testRecord, err error) {
	f, err := os.CreateTemp(t.tmp, "reached")
	if err != nil {
		return record, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Truncate(active.Size); err != nil {
		return record, err
	}
	r, err := t.process(s, []string{"-test.short", "-test.run=^" + name + "$"}, []string{active.Reached + "=" + f.Name()}, 5*time.Minute)
	if err != nil {
		return record, err
	}
	if record.Failed = r.failed; r.failed {
		log.Printf("%s of %s fails without mutants and is left out:\n%s", name, s.dir, r.output)
	}
	record.Took = r.took
	reached, err := os.ReadFile(f.Name())
	if err != nil {
		return record, err
	}
	for _, m := range t.sample.mutants {
		if i, ok := t.reach.index[m.key()]; ok && reached[m.id] != 0 {
			record.Reaches = append(record.Reaches, i)
		}
	}
	slices.Sort(record.Reaches)
	return record, nil
}

// reached returns a test with the mutants that it reaches.
func (t *tester) reached(s *suite, name string, record testRecord) *test {
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
	return c
}
