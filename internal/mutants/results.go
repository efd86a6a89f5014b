package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
)

// outcome is how a mutant fared.
type outcome string

const (
	killed     outcome = "killed"     // a test failed
	timeout    outcome = "timeout"    // a test did not end
	survived   outcome = "survived"   // all tests passed
	unreached  outcome = "unreached"  // no test runs the place in a way that makes a difference
	equivalent outcome = "equivalent" // equivalent.txt says why no test can notice it
)

// result is one line of the file of results.
type result struct {
	Key     string
	Outcome outcome
	By      string  `json:",omitempty"` // the test that noticed it
	Tests   int     // how many tests ran
	Seconds float64 // how long that took
}

// results are the outcomes of this run and earlier ones, by key. Later lines of the
// file replace earlier ones.
type results struct {
	file *os.File

	mu    sync.Mutex        // orders lines of the file with the map
	byKey map[string]result // guarded by mu
}

func openResults(state string) (*results, error) {
	name := filepath.Join(state, "results.jsonl")
	text, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	r := &results{byKey: make(map[string]result)}
	for line := range bytes.Lines(text) {
		var one result
		if err := json.Unmarshal(line, &one); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		r.byKey[one.Key] = one
	}
	r.file, err = os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	return r, err
}

func (r *results) add(one result) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byKey[one.Key] = one
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}
	_, err = r.file.Write(append(line, '\n'))
	return err
}

// outcome returns how a mutant fared, or "" if it did not run yet.
func (s *sample) outcome(r *results, m *mutant) outcome {
	if s.equivalent[m.key()] != "" {
		return equivalent
	}
	return r.byKey[m.key()].Outcome
}

// report prints the mutants that no test noticed, and how many fared how.
func report(w io.Writer, s *sample, r *results) {
	for _, o := range []outcome{survived, unreached} {
		var lines []string
		for _, m := range s.mutants {
			if s.outcome(r, m) == o {
				line := fmt.Sprintf("%s: %s", o, m)
				if m.Nth > 0 {
					line += fmt.Sprintf(" #%d", m.Nth)
				}
				lines = append(lines, line)
			}
		}
		slices.Sort(lines)
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
	}
	outcomes := []outcome{killed, timeout, survived, unreached, equivalent, ""}
	count := make(map[string]map[outcome]int)
	for _, m := range s.mutants {
		for _, dir := range []string{m.dir(), "total"} {
			if count[dir] == nil {
				count[dir] = make(map[outcome]int)
			}
			count[dir][s.outcome(r, m)]++
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "package\tpossible\tmutants\tkilled\ttimeout\tsurvived\tunreached\tequivalent\twaiting\t\n")
	var dirs []string
	all := 0
	for dir, n := range s.candidates {
		dirs = append(dirs, dir)
		all += n
	}
	slices.Sort(dirs)
	s.candidates["total"] = all
	for _, dir := range append(dirs, "total") {
		n := 0
		for _, c := range count[dir] {
			n += c
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t", dir, s.candidates[dir], n)
		for _, o := range outcomes {
			fmt.Fprintf(t, "%d\t", count[dir][o])
		}
		fmt.Fprintln(t)
	}
	t.Flush()
	if s.invalid > 0 {
		fmt.Fprintf(w, "%d more did not compile\n", s.invalid)
	}
}
