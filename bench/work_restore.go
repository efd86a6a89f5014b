package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/maintain"
)

func restoreName(d fmt.Stringer) string { return fmt.Sprintf("%s: restore to a file", d) }

func importName(d fmt.Stringer) string { return fmt.Sprintf("%s: import of a file", d) }

func restoreShareFigure(d fmt.Stringer) string {
	return fmt.Sprintf("%s: restore, of the download's time", d)
}

func restoreHeapFigure(d fmt.Stringer) string { return fmt.Sprintf("%s: restore, heap", d) }

func importHeapFigure(d fmt.Stringer) string { return fmt.Sprintf("%s: import, heap", d) }

// restoreWorkload restores a database to a file, and imports that file to a new
// replica. Upstream has nothing that corresponds to an import.
func restoreWorkload(ctx context.Context, e *env, d *dataset) error {
	for range e.runs {
		took, err := e.fetch(ctx, d)
		if err != nil {
			return fmt.Errorf("download: %w", err)
		}
		e.results.addFigure(fetchFigure(d), "ms", ours, took.Seconds()*1e3)
	}
	download := e.results.value(fetchFigure(d), ours)
	return e.repeat(ctx, func(ctx context.Context, sys *system) (err error) {
		if sys.restore == nil {
			return nil
		}
		dir, err := os.MkdirTemp(e.root, "restore-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		path := filepath.Join(dir, "restored.db")
		s := &session{trace: decorated(d, e.shape())}
		peak := watchHeap()
		got, err := s.timed(ctx, func() error { return sys.restore(ctx, s.trace, path) })
		heap := peak()
		if err == nil {
			err = sameFiles(path, d.plain)
		}
		if err != nil {
			return err
		}
		e.results.add(restoreName(d), sys.name, got)
		e.results.addFigure(restoreShareFigure(d), "x", sys.name, got.time.Seconds()*1e3/download)
		e.results.addFigure(restoreHeapFigure(d), "MiB", sys.name, heap/(1<<20))
		if sys.name != ours {
			return nil
		}
		return e.importFile(ctx, d, path, filepath.Join(dir, "replica"))
	})
}

// importFile imports a database to a folder that is as slow as the store.
func (e *env) importFile(ctx context.Context, d *dataset, path, replica string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	src, err := maintain.NewFileSource(f, fi.Size())
	if err != nil {
		return err
	}
	s := &session{trace: decorate.NewTrace(decorate.NewLatency(file.NewReplicaClient(replica), e.shape()))}
	peak := watchHeap()
	got, err := s.timed(ctx, func() error {
		_, err := maintain.Import(ctx, s.trace, src, maintain.ImportOptions{Requests: maintain.Requests{Timeout: -1, Logger: quiet}})
		return err
	})
	heap := peak()
	if err != nil {
		return err
	}
	e.results.add(importName(d), ours, got)
	e.results.addFigure(importHeapFigure(d), "MiB", ours, heap/(1<<20))
	return nil
}

// restoreOurs restores with this library.
func restoreOurs(ctx context.Context, client *decorate.Trace, path string) error {
	_, err := maintain.Restore(ctx, client, path, maintain.RestoreOptions{Requests: maintain.Requests{Logger: quiet}})
	return err
}

// sameFiles returns an error if two files differ.
func sameFiles(a, b string) error {
	var sums [2][sha256.Size]byte
	for i, path := range []string{a, b} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		h.Sum(sums[i][:0])
	}
	if sums[0] != sums[1] {
		return fmt.Errorf("%s and %s differ", a, b)
	}
	return nil
}
