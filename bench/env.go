package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// env is the environment of the workloads.
type env struct {
	config
	systems  []*system
	results  results
	progress io.Writer

	root     string // folder of the datasets
	bases    map[string]string
	datasets map[string]*dataset
	answers  map[string]uint64 // hashes by question, to compare the systems
}

func newEnv(cfg config, systems []*system, progress io.Writer) (*env, error) {
	root, err := os.MkdirTemp(cfg.dir, "litestream-bench-")
	if err != nil {
		return nil, fmt.Errorf("make folder for datasets: %w", err)
	}
	return &env{
		config: cfg, systems: systems, progress: progress,
		root: root, bases: make(map[string]string), datasets: make(map[string]*dataset),
		answers: make(map[string]uint64),
	}, nil
}

func (e *env) close() error { return os.RemoveAll(e.root) }

func (e *env) logf(format string, args ...any) {
	fmt.Fprintf(e.progress, format+"\n", args...)
}

// dataset creates a dataset, or returns it if it exists already.
func (e *env) dataset(ctx context.Context, src *source, files int, frames bool) (*dataset, error) {
	baseKey := fmt.Sprintf("%s-%d", src.name, src.rows)
	key := fmt.Sprintf("%s-%d-%v", baseKey, files, frames)
	if d, ok := e.datasets[key]; ok {
		return d, nil
	}
	start := time.Now()
	base, ok := e.bases[baseKey]
	if !ok {
		base = filepath.Join(e.root, baseKey+".db")
		if err := makeBase(ctx, base, src); err != nil {
			return nil, fmt.Errorf("make database %s: %w", src.name, err)
		}
		e.bases[baseKey] = base
	}
	d, err := makeDataset(ctx, base, filepath.Join(e.root, key), src, files, frames)
	if err != nil {
		return nil, fmt.Errorf("make dataset %s: %w", src.name, err)
	}
	e.logf("  made %s: %d pages, snapshot of %.1f MB, %d files of level 0 (%.1f s)",
		d, d.pages, float64(d.snapshot.Size)/1e6, files, time.Since(start).Seconds())
	e.datasets[key] = d
	return d, nil
}

// drop deletes a large dataset, and its base, after its last use.
func (e *env) drop(d *dataset) error {
	for key, other := range e.datasets {
		if other == d {
			delete(e.datasets, key)
		}
	}
	baseKey := fmt.Sprintf("%s-%d", d.name, d.rows)
	base := e.bases[baseKey]
	delete(e.bases, baseKey)
	return errors.Join(os.RemoveAll(filepath.Dir(d.plain)), os.RemoveAll(base))
}

// repeat calls fn for each system in turn, as many times as the configuration
// says.
func (e *env) repeat(ctx context.Context, fn func(ctx context.Context, sys *system) error) error {
	spent := make([]time.Duration, len(e.systems))
	for run := range e.runs {
		for i, sys := range e.systems {
			if run > 0 && (spent[i] > e.patience || sys.name != ours && spent[i]/time.Duration(run) > e.slow) {
				continue
			}
			start := time.Now()
			if err := fn(ctx, sys); err != nil {
				return fmt.Errorf("%s: %w", sys.name, err)
			}
			spent[i] += time.Since(start)
		}
	}
	return nil
}

// session opens a database, calls fn, and closes it.
func (e *env) session(ctx context.Context, sys *system, d *dataset, o openOptions, fn func(*session) error) error {
	s, err := sys.open(d, o)
	if err != nil {
		return err
	}
	return errors.Join(fn(s), s.close())
}

// timed runs fn and returns its duration and the requests made meanwhile.
func (s *session) timed(ctx context.Context, fn func() error) (sample, error) {
	start := time.Now()
	if err := fn(); err != nil {
		return sample{}, err
	}
	took := time.Since(start)
	requests, bytes, err := s.counts(ctx)
	return sample{time: took, requests: requests, bytes: bytes}, err
}
