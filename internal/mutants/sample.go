package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream/internal/mutants/active"
)

// sample is the mutants of a run, and the code that has them.
type sample struct {
	mutants    []*mutant
	candidates map[string]int // of how many they are, by directory
	invalid    int            // those that did not compile
	equivalent map[string]string
	overlay    string // file for the flag -overlay of the go command
	sum        string // tells the code with the mutants from other code
}

func (m *mutant) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", m.File, m.Line, m.Func, m.Change)
}

// newSample finds the mutants of some packages, chooses some of them, and writes
// code that has them.
func newSample(o options) (*sample, error) {
	dirs := strings.Split(o.packages, ",")
	l, err := load(dirs)
	if err != nil {
		return nil, err
	}
	top, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	s := &sample{candidates: make(map[string]int)}
	if s.equivalent, err = readEquivalent(filepath.Join(top, "internal/mutants/equivalent.txt")); err != nil {
		return nil, err
	}
	known := make(map[string]bool)
	for _, dir := range dirs {
		p := l.packages[module+strings.TrimSuffix("/"+dir, "/.")]
		if p == nil {
			return nil, fmt.Errorf("there is no package %s", dir)
		}
		files, err := l.parse(p, nil)
		if err != nil {
			return nil, err
		}
		pkg, info, wrong := l.check(p, files)
		if len(wrong) > 0 {
			return nil, fmt.Errorf("%s does not compile at %s", dir, wrong[0])
		}
		for _, file := range files {
			if file.cgo {
				continue
			}
			name, err := filepath.Rel(top, file.path)
			if err != nil {
				return nil, err
			}
			f := &finder{l: l, pkg: pkg, info: info, file: file, name: filepath.ToSlash(name)}
			for _, m := range f.find() {
				s.mutants = append(s.mutants, m)
				s.candidates[dir]++
				known[m.key()] = true
			}
		}
	}
	for key := range s.equivalent {
		if file, _, _ := strings.Cut(key, "\t"); !known[key] && slices.Contains(dirs, (&mutant{File: file}).dir()) {
			log.Printf("equivalent.txt: there is no such mutant any more: %s", strings.ReplaceAll(key, "\t", ": "))
		}
	}
	slices.SortFunc(s.mutants, func(a, b *mutant) int { return cmp.Compare(a.rank(o.seed), b.rank(o.seed)) })
	s.mutants = s.mutants[:min(o.n, len(s.mutants), active.Size-1)]
	for i, m := range s.mutants {
		m.id = i + 1
	}
	return s, s.write(l, filepath.Join(o.state, "overlay"))
}

// write writes the code that has the mutants, without those that do not compile. The
// folder is the same in each run, because the go command compiles what has moved again.
func (s *sample) write(l *loader, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	replace, sum := make(map[string]string), sha256.New()
	byDir := make(map[string][]*mutant)
	for _, m := range s.mutants {
		byDir[m.dir()] = append(byDir[m.dir()], m)
	}
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		p, mutants := l.packages[module+strings.TrimSuffix("/"+dir, "/.")], byDir[dir]
		changed, err := s.compiling(l, p, mutants)
		if err != nil {
			return err
		}
		for _, path := range slices.Sorted(maps.Keys(changed)) {
			text := changed[path]
			sum.Write(text)
			name := filepath.Join(folder, strings.ReplaceAll(dir, "/", "-")+"-"+filepath.Base(path))
			if err := os.WriteFile(name, text, 0o644); err != nil {
				return err
			}
			replace[path] = name
		}
	}
	s.mutants = slices.DeleteFunc(s.mutants, func(m *mutant) bool { return m.id == 0 })
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	s.sum = hex.EncodeToString(sum.Sum(nil))
	s.overlay = filepath.Join(folder, "overlay.json")
	return os.WriteFile(s.overlay, text, 0o644)
}

// compiling returns the changed files of a package. Mutants that do not compile
// are left out and lose their number.
func (s *sample) compiling(l *loader, p *listed, mutants []*mutant) (map[string][]byte, error) {
	originals, err := l.parse(p, nil)
	if err != nil {
		return nil, err
	}
	for {
		changed := make(map[string][]byte)
		for _, f := range originals {
			var of []*mutant
			for _, m := range mutants {
				if m.id != 0 && strings.HasSuffix(filepath.ToSlash(f.path), "/"+m.File) {
					of = append(of, m)
				}
			}
			if len(of) > 0 {
				changed[f.path] = rewrite(f, l.fset.Position(f.syntax.Name.End()).Offset, of)
			}
		}
		files, err := l.parse(p, changed)
		if err != nil {
			return nil, err
		}
		_, _, wrong := l.check(p, files)
		if len(wrong) == 0 {
			return changed, nil
		}
		// A mutant is dropped for each line with an error, until there is none.
		lines := make(map[string]bool)
		for _, pos := range wrong {
			lines[fmt.Sprintf("%s:%d", pos.Filename, pos.Line)] = true
		}
		dropped := s.invalid
		for _, m := range mutants {
			if line := fmt.Sprintf("%s:%d", filepath.Join(p.Dir, filepath.Base(m.File)), m.Line); m.id != 0 && lines[line] {
				m.id = 0
				s.invalid++
				delete(lines, line)
			}
		}
		if s.invalid == dropped {
			return nil, fmt.Errorf("code with mutants does not compile at %s", wrong[0])
		}
	}
}
