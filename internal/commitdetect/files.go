package commitdetect

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ltxvfs/litestream/internal/openfiles"
	"github.com/ltxvfs/litestream/internal/superjournal"
)

// Files knows the databases that are open and their journals. SQLite gives the
// names of files only, which may be the same for databases of several replicas. It
// is safe for concurrent use.
type Files struct {
	thread func() uint64
	keyOf  KeyOf
	supers *superjournal.Set

	mu struct {
		sync.Mutex
		open    map[string]int              // how often databases are open, by name
		writers map[string]*File            // files that hold the writer slot, by key
		closed  map[string]map[*File]uint64 // files whose journal of a name was closed, and the thread that closed it
	}
}

// inUse are the registries that have a database open, with the number of its main
// files. A transaction may have a replica of one VFS as its main database, and
// replicas of others attached. No other lock is taken while it is locked.
var inUse struct {
	sync.Mutex
	files map[*Files]int
}

// use counts main files that a registry opens, or closes if n is negative.
func (f *Files) use(n int) {
	inUse.Lock()
	defer inUse.Unlock()
	if inUse.files == nil {
		inUse.files = make(map[*Files]int)
	}
	if inUse.files[f] += n; inUse.files[f] == 0 {
		delete(inUse.files, f)
	}
}

func anyFiles(is func(*Files) bool) bool {
	inUse.Lock()
	all := slices.Collect(maps.Keys(inUse.files))
	inUse.Unlock()
	return slices.ContainsFunc(all, is)
}

// isReplicas reports whether a journal has the name of one of a replica that is open.
func isReplicas(journal string) bool {
	return anyFiles(func(f *Files) bool { return f.isOpen(journal) })
}

// KeyOf returns the key of the database that a name and the parameters of its URI
// mean. A journal is opened with the parameters of its database.
type KeyOf func(name string, params map[string]string) string

// NewFiles returns a registry. The function thread returns the number of the
// thread that SQLite calls on.
func NewFiles(log *slog.Logger, keyOf KeyOf, thread func() uint64) *Files {
	f := &Files{thread: thread, keyOf: keyOf}
	f.supers = superjournal.NewSet(func() *slog.Logger { return log }, isReplicas)
	f.mu.open = make(map[string]int)
	f.mu.writers = make(map[string]*File)
	f.mu.closed = make(map[string]map[*File]uint64)
	return f
}

// Open adds a connection's main file.
func (f *Files) Open(conn Conn, name string, params map[string]string) *File {
	f.use(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.open[name]++
	return &File{conn: conn, files: f, name: name, key: f.keyOf(name, params)}
}

// Len returns the number of main files that are open.
func (f *Files) Len() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, opens := range f.mu.open {
		n += opens
	}
	return n
}

// close removes a file.
func (f *Files) close(file *File) {
	f.use(-1)
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
	file := f.mu.writers[f.keyOf(strings.TrimSuffix(name, journalSuffix), params)]
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

// isOpen reports whether a journal has the name of one of a database that is open.
func (f *Files) isOpen(journal string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.open[strings.TrimSuffix(journal, journalSuffix)] > 0
}

// OpenSuperJournal opens a super-journal, which exists until it is deleted.
func (f *Files) OpenSuperJournal(name string) *superjournal.File { return f.supers.Open(name) }

// Delete deletes a journal or a super-journal. A deleted journal is final, and the
// error is that of the commit.
func (f *Files) Delete(name string) error {
	f.supers.Delete(name)
	if file := f.deletedBy(name); file != nil {
		return file.journalIsFinal()
	}
	return nil
}

// Exists reports whether SQLite is to find a file, which is true for super-journals
// only, those of main databases of other VFSs included. Journals of replicas are never
// found, since nothing is to be rolled back after a crash.
func (f *Files) Exists(name string) bool {
	return f.supers.Exists(name) || openfiles.IsSuperJournal(name) && anyFiles(func(g *Files) bool { return g.supers.Has(name) })
}
