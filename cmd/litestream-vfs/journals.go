//go:build SQLITE3VFS_LOADABLE_EXT

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/ltxvfs/litestream/internal/tempfile"
)

// journal is the rollback journal of a replica. It exists as long as it is open,
// since nothing is to be rolled back after a crash.
type journal struct{ tempfile.File }

// superJournals knows the super-journals that exist: those of transactions whose
// main database is a replica. It is safe for concurrent use.
type superJournals struct {
	mu struct {
		sync.Mutex
		names map[string]bool
	}
}

func (s *superJournals) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.names == nil {
		s.mu.names = make(map[string]bool)
	}
	s.mu.names[name] = true
}

func (s *superJournals) remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.names, name)
}

// has reports whether a super-journal exists, one of ours or one on disk of a main
// database that is a plain file. A journal that names it counts as long as it
// exists.
func (s *superJournals) has(name string) bool {
	s.mu.Lock()
	has := s.mu.names[name]
	s.mu.Unlock()
	if !has && strings.Contains(name, "-mj") {
		_, err := os.Stat(name)
		has = err == nil
	}
	return has
}

// superJournal ties together the journals of several databases that SQLite
// commits at once. It lives in memory: each database commits for itself.
type superJournal struct{ tempfile.File }

// WriteAt writes names of journals. It refuses those of local files: a process
// that recovers such a file would look for the super-journal on disk.
func (s *superJournal) WriteAt(p []byte, off int64) (int, error) {
	for name := range strings.SplitSeq(string(p), "\x00") {
		if name != "" && !isReplicas(name) {
			err := fmt.Errorf("a transaction over the local file of %s and another database is not possible with a replica as main database", name)
			logger.Error("write of super-journal failed", "error", err)
			return 0, err
		}
	}
	return s.File.WriteAt(p, off)
}

// isReplicas reports whether a journal belongs to a replica that is open, and not
// to a local file with the same name.
func isReplicas(journal string) bool {
	if !router.Companion(journal) {
		return false
	}
	_, err := os.Lstat(journal)
	return errors.Is(err, fs.ErrNotExist)
}
