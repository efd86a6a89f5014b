package livefile

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/testscale"
)

var (
	liveReads = flag.Int("live", 0, "read `N` states in each case of TestFile_Live")
	liveSeed  = flag.Uint64("live-seed", 1, "seed of the first case of TestFile_Live")
)

// What is read beside a program that writes is what one of its transactions has left,
// whatever checkpoints it makes and however often it closes the database.
func TestFile_Live(t *testing.T) {
	for i, tt := range []struct{ mode, pageSize, vacuum string }{
		{"wal", "512", "FULL"}, {"wal", "4096", "NONE"}, {"wal", "65536", "FULL"}, {"delete", "4096", "FULL"}, {"truncate", "512", "NONE"}, {"persist", "1024", "FULL"},
	} {
		t.Run(tt.mode+" "+tt.pageSize, func(t *testing.T) {
			if tt.mode != "wal" && !seesWriters {
				t.Skip("on this system a database with a rollback journal is copied first, which cmd/ltxvfs tests")
			}
			reads := testscale.Repeats(24)
			if *liveReads > 0 {
				reads = *liveReads
			}
			seed := *liveSeed + uint64(i)
			path := filepath.Join(t.TempDir(), "live.db")
			newDatabase(t, path, "PRAGMA page_size = "+tt.pageSize, "PRAGMA auto_vacuum = "+tt.vacuum, "PRAGMA journal_mode = "+tt.mode)
			l := &liveTest{t: t, path: path, writer: startWriter(t, path, tt.mode, seed), rng: rand.New(rand.NewPCG(seed, 1))}
			l.writer.wait(1)
			for range reads {
				l.read()
			}
			t.Logf("of %d states, %d had pages in the WAL, %d transactions ended early, %d were copies", reads, l.walReads, l.early, l.copies)
			if tt.mode == "wal" && (l.walReads == 0 || l.copies == reads) || tt.mode != "wal" && l.early == 0 {
				t.Error("this does not test what it should")
			}
		})
	}
}

// liveTest reads a database that a program writes to.
type liveTest struct {
	t      *testing.T
	path   string
	writer *writerProcess
	rng    *rand.Rand

	walReads, early, copies int
}

// read reads a state and checks it.
func (l *liveTest) read() {
	l.t.Helper()
	f, err := Open(l.t.Context(), l.path, Options{BusyTimeout: time.Minute})
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			l.t.Fatal(err)
		}
	}()
	f.mu.Lock()
	switch {
	case f.live == nil && f.watcher == nil:
		l.copies++
	case f.live != nil && f.live.wal != nil:
		l.walReads++
	}
	f.mu.Unlock()
	image := filepath.Join(l.t.TempDir(), "image.db")
	out, err := os.Create(image)
	if err != nil {
		l.t.Fatal(err)
	}
	stop := uint32(l.rng.IntN(int(f.Pages())+1) + 1)
	for pgno := uint32(1); pgno <= f.Pages(); {
		pages := make([]byte, min(1+l.rng.IntN(60), int(f.Pages()-pgno+1))*int(f.PageSize()))
		next := pgno + uint32(len(pages))/f.PageSize()
		if pgno <= stop && stop < next {
			l.writer.wait(l.rng.IntN(6)) // it writes while pages are read
		}
		if err := f.ReadPages(l.t.Context(), pgno, pages); err != nil {
			l.t.Fatal(err)
		}
		if _, err := out.WriteAt(pages, int64(pgno-1)*int64(f.PageSize())); err != nil {
			l.t.Fatal(err)
		}
		pgno = next
	}
	f.mu.Lock()
	if f.live == nil && f.watcher != nil {
		l.early++
	}
	f.mu.Unlock()
	if err := out.Close(); err != nil {
		l.t.Fatal(err)
	}
	if err := checkDatabase(image); err != nil {
		l.t.Fatal(fmt.Errorf("the state is none that was committed: %w", err))
	}
	if err := os.Remove(image); err != nil {
		l.t.Fatal(err)
	}
}
