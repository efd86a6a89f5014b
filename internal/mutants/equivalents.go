package main

import (
	"fmt"
	"os"
	"strings"
)

// readEquivalent reads the mutants that no test can notice, by key, with the reason.
// A line has file, function, change and reason, with tabs between them. A change
// that is there more than once in a function has "#" and its number, from 0, at its
// end; without, it is the first one.
func readEquivalent(name string) (map[string]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	all := make(map[string]string)
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		parts := strings.Split(line, "\t")
		if len(parts) != 4 || parts[3] == "" {
			return nil, fmt.Errorf("%s:%d: want file, function, change and reason with tabs between them", name, i+1)
		}
		m := mutant{File: parts[0], Func: parts[1], Change: parts[2]}
		if change, nth, ok := strings.Cut(parts[2], " #"); ok {
			if _, err := fmt.Sscan(nth, &m.Nth); err != nil {
				return nil, fmt.Errorf("%s:%d: %q: %w", name, i+1, nth, err)
			}
			m.Change = change
		}
		all[m.key()] = parts[3]
	}
	return all, nil
}
