package commitdetect

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
)

// Files knows the databases that are open and their journals. SQLite gives the
// names of files only, which may be the same for databases of several replicas. It
// is safe for concurrent use.
type Files struct {
	log    *slog.Logger
	thread func() uint64

	mu struct {
		sync.Mutex
		open    map[string]int              // how often databases are open, by name
		writers map[string]*File            // files that hold the writer slot, by key
		closed  map[string]map[*File]uint64 // files whose journal of a name was closed, and the thread that closed it
		super   map[string]bool             // super-journals that exist
	}
}

// NewFiles returns a registry. The function thread returns the number of the
// thread that SQLite calls on.
func NewFiles(log *slog.Logger, thread func() uint64) *Files {
	f := &Files{log: log, thread: thread}
	f.mu.open = make(map[string]int)
	f.mu.writers = make(map[string]*File)
	f.mu.closed = make(map[string]map[*File]uint64)
	f.mu.super = make(map[string]bool)
	return f
}

// keyOf returns what tells databases of one name apart: the replica in the
// parameters of the URI, which a journal has, too.
func keyOf(name string, params map[string]string) string {
	if url := params["replica_url"]; url != "" {
		return "url " + url
	}
	return "name " + name
}

// Open adds a connection's main file.
func (f *Files) Open(conn Conn, name string, params map[string]string) *File {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.open[name]++
	return &File{conn: conn, files: f, name: name, key: keyOf(name, params)}
}

// close removes a file.
func (f *Files) close(file *File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.open[file.name]--; f.mu.open[file.name] == 0 {
		delete(f.mu.open, file.name)
	}
}

// setWriter notes that a file holds the writer slot of its database.
func (f *Files) setWriter(file *File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.writers[file.key] = file
}

// journalSuffix is what SQLite appends to the name of a database for its journal.
const journalSuffix = "-journal"

// OpenJournal opens the rollback journal of the file that holds the writer slot.
func (f *Files) OpenJournal(name string, params map[string]string) (*Journal, error) {
	f.mu.Lock()
	file := f.mu.writers[keyOf(strings.TrimSuffix(name, journalSuffix), params)]
	f.mu.Unlock()
	if file == nil {
		return nil, fmt.Errorf("open %s: no connection writes to the database", name)
	}
	return file.openJournal(name), nil
}

// forget removes the journal of a file, which is about to give up the writer slot.
func (f *Files) forget(name string, file *File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.writers[file.key] == file {
		delete(f.mu.writers, file.key)
	}
	delete(f.mu.closed[name], file)
	if len(f.mu.closed[name]) == 0 {
		delete(f.mu.closed, name)
	}
}

// journalClosed notes that the journal of a file was closed within its
// transaction. A database has at most one.
func (f *Files) journalClosed(name string, file *File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.closed[name] == nil {
		f.mu.closed[name] = make(map[*File]uint64)
	}
	thread := f.thread()
	maps.DeleteFunc(f.mu.closed[name], func(_ *File, t uint64) bool { return t == thread }) // those were not deleted
	f.mu.closed[name][file] = thread
}

// deletedBy returns the file whose journal of a name SQLite deletes, nil if none
// is known. SQLite deletes a journal right after it has closed it, on the same
// thread.
func (f *Files) deletedBy(name string) (found *File) {
	f.mu.Lock()
	defer f.mu.Unlock()
	thread := f.thread()
	for file, t := range f.mu.closed[name] {
		if len(f.mu.closed[name]) == 1 || t == thread {
			found = file
		}
	}
	delete(f.mu.closed[name], found)
	return found
}

// Delete deletes a journal or a super-journal. A deleted journal is final, and the
// error is that of the commit.
func (f *Files) Delete(name string) error {
	f.setSuper(name, false)
	if file := f.deletedBy(name); file != nil {
		return file.journalIsFinal()
	}
	return nil
}

// Exists reports whether SQLite is to find a file. That is true for super-journals
// only: those of this registry, and those of a main database that is a plain file.
// A journal that names a super-journal counts as long as that exists. Journals of
// replicas are never found, since nothing is to be rolled back after a crash.
func (f *Files) Exists(name string) bool {
	f.mu.Lock()
	exists := f.mu.super[name]
	f.mu.Unlock()
	if !exists && strings.Contains(name, "-mj") {
		_, err := os.Stat(name)
		exists = err == nil
	}
	return exists
}

func (f *Files) setSuper(name string, exists bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !exists {
		delete(f.mu.super, name)
		return
	}
	f.mu.super[name] = true
}

// checkJournals refuses a super-journal that names the journal of a local file,
// whichever VFS serves that. A process that recovers the file would look for the
// super-journal on disk.
func (f *Files) checkJournals(names []byte) error {
	for name := range strings.SplitSeq(string(names), "\x00") {
		if name != "" && !f.isReplicas(name) {
			err := fmt.Errorf("a transaction over the local file of %s and another database is not possible with a replica as main database", name)
			f.log.Error("write of super-journal failed", "error", err)
			return err
		}
	}
	return nil
}

// isReplicas reports whether a journal belongs to a replica that is open here, and
// not to a local file with the same name.
func (f *Files) isReplicas(journal string) bool {
	f.mu.Lock()
	is := f.mu.open[strings.TrimSuffix(journal, journalSuffix)] > 0
	f.mu.Unlock()
	if is {
		_, err := os.Lstat(journal)
		is = errors.Is(err, fs.ErrNotExist)
	}
	return is
}
