package write

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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
