// Package superjournal has the super-journals of SQLite's transactions over
// several databases whose main database is a replica.
package superjournal

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/ltxvfs/litestream/internal/openfiles"
	"github.com/ltxvfs/litestream/internal/tempfile"
)

// Set knows the super-journals that exist. It is safe for concurrent use.
type Set struct {
	log    func() *slog.Logger
	isOpen func(journal string) bool

	mu struct {
		sync.Mutex
		names map[string]bool
	}
}

// NewSet returns an empty set, which logs errors to what log returns. The function
// isOpen reports whether a journal has the name of one of a replica that is open.
func NewSet(log func() *slog.Logger, isOpen func(journal string) bool) *Set {
	s := &Set{log: log, isOpen: isOpen}
	s.mu.names = make(map[string]bool)
	return s
}

// Open opens a super-journal, which exists until it is deleted. The file is empty each
// time, and the read of no bytes from it is io.EOF.
//
// After a commit that failed, SQLite rolls one database after the other back. With
// each it opens the super-journal, reads it, and deletes it if none of the journals
// that it names exists any more. For SQLite no journal of a replica exists. So with
// the content it would delete the super-journal after the first database, and then
// not roll back the others, whose journals name a super-journal that is gone: they
// would keep changed pages in their caches. The end of the file is an error by which
// SQLite leaves the super-journal alone. Its name stays in the set.
func (s *Set) Open(name string) *File {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.names[name] = true
	return &File{set: s}
}

// Delete deletes a super-journal, if it is one of the set.
func (s *Set) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.names, name)
}

// Has reports whether a super-journal is one of the set.
func (s *Set) Has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.names[name]
}

// Exists reports whether a super-journal exists: one of the set, or one on disk of
// a main database that is a plain file. A journal that names a super-journal counts
// as long as that exists. Other files are not looked for on disk, whatever their
// folder is called: one beside a replica is none of its companions.
func (s *Set) Exists(name string) bool {
	exists := s.Has(name)
	if !exists && openfiles.IsSuperJournal(name) {
		_, err := os.Stat(name)
		exists = err == nil
	}
	return exists
}

// isReplicas reports whether a journal belongs to a replica that is open, and not
// to a local file with the same name.
func (s *Set) isReplicas(journal string) bool {
	if !s.isOpen(journal) {
		return false
	}
	_, err := os.Lstat(journal)
	return errors.Is(err, fs.ErrNotExist)
}

// File is a super-journal. It ties together the journals of several databases that
// SQLite commits at once. It lives in memory: each database commits for itself. It
// is not safe for concurrent use.
type File struct {
	tempfile.File
	set *Set
}

// WriteAt writes names of journals, with zero bytes between them. It refuses the
// journal of a local file, whichever VFS serves that: a process that recovers the
// file would look for the super-journal on disk.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	for name := range strings.SplitSeq(string(p), "\x00") {
		if name != "" && !f.set.isReplicas(name) {
			err := fmt.Errorf("a transaction over the local file of %s and another database is not possible with a replica as main database", openfiles.Shown(name))
			f.set.log().Error("write of super-journal failed", "error", err)
			return 0, err
		}
	}
	return f.File.WriteAt(p, off)
}
