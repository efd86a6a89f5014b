package write

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

// A segment that recovery keeps aside has another name afterwards, and is not open
// any more.
func TestRecovery_KeepCloses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buffer")
	f, err := os.Create(path + "-00000003")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := commitlog.Create(f, commitlog.Header{PageSize: 512, Number: 3}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	b, err := openWriteBuffer(path, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	s, _, err := b.open(3, func(commitlog.Commit) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	r := &recovery{Deps: &Deps{Log: log}, b: b, left: []*leftSegment{{number: 3, log: s, fate: fateKeep, why: commitlog.ErrDamaged}}}
	if err := r.keep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.kept + "-00000003"); err != nil {
		t.Error(err)
	}
	if err := s.Sync(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the segment is open: %v", err)
	}
}

// If keeping segments aside ends in between, the first ones are those that stay: a
// later one alone does not say which commits it follows.
func TestKeepAside_Order(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buffer")
	renames := 0
	b, err := openWriteBuffer(path, slog.New(slog.DiscardHandler), func(op string) error {
		if op == "before: rename segment" {
			if renames++; renames > 2 {
				return syscall.ENOSPC
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	var segments []keptSegment
	for n := range uint64(4) {
		f, err := os.Create(b.segmentPath(n + 1))
		if err != nil {
			t.Fatal(err)
		}
		log, err := commitlog.Create(f, commitlog.Header{PageSize: 512, Number: n + 1})
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, keptSegment{number: n + 1, log: log})
	}
	kept, err := b.keepAside(segments)
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("keep: %v", err)
	}
	for n, at := range []string{path, path, kept, kept} {
		if _, err := os.Stat(fmt.Sprintf("%s-%08d", at, n+1)); err != nil {
			t.Error(err)
		}
		if err := segments[n].log.Close(); err != nil {
			t.Error(err)
		}
	}
}
