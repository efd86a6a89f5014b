package litestream

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"sync"

	"github.com/ltxvfs/litestream/internal/osvfs"
	"github.com/psanford/sqlite3vfs"
)

// journals knows the journals of connections that write: SQLite names them by
// the file names of databases only. It is safe for concurrent use.
type journals struct {
	mu     sync.Mutex                  // duty: what follows
	closed map[string]map[*conn]uint64 // guarded by mu; by name: whose was closed, and by which thread
	super  map[string]bool             // guarded by mu; super-journals that are there
	mains  map[string]int              // guarded by mu; names of databases, and how often they are open
}

// join notes that a database was opened by a name, leave that it was closed.
func (j *journals) join(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mains == nil {
		j.mains = make(map[string]int)
	}
	j.mains[name]++
}

func (j *journals) leave(name string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.mains[name]--; j.mains[name] == 0 {
		delete(j.mains, name)
	}
}

// isOurs tells whether a journal, by its name, is of a database that is open here, and not
// of a file that is named alike.
func (j *journals) isOurs(name string) bool {
	j.mu.Lock()
	ours := j.mains[strings.TrimSuffix(name, journalSuffix)] > 0
	j.mu.Unlock()
	if ours {
		_, err := os.Lstat(name)
		ours = errors.Is(err, fs.ErrNotExist)
	}
	return ours
}

// journalSuffix is what SQLite appends to the name of a database for its journal.
const journalSuffix = "-journal"

// close notes that the journal of a connection was closed, within its
// transaction. There is one at most for each database.
func (j *journals) close(name string, c *conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed == nil {
		j.closed = make(map[string]map[*conn]uint64)
	}
	if j.closed[name] == nil {
		j.closed[name] = make(map[*conn]uint64)
	}
	thread := osvfs.ThreadID()
	maps.DeleteFunc(j.closed[name], func(_ *conn, t uint64) bool { return t == thread }) // those were not deleted
	j.closed[name][c] = thread
}

// forget forgets the journal of a connection.
func (j *journals) forget(name string, c *conn) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.closed[name], c)
	if len(j.closed[name]) == 0 {
		delete(j.closed, name)
	}
}

// deleted returns the connection whose journal of a name is deleted, nil if
// none is known. Databases of several replicas may have the name; SQLite deletes a
// journal right after it has closed it, on the same thread.
func (j *journals) deleted(name string) *conn {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found *conn
	thread := osvfs.ThreadID()
	for c, t := range j.closed[name] {
		if len(j.closed[name]) == 1 || t == thread {
			found = c
		}
	}
	delete(j.closed[name], found)
	return found
}

// setSuper notes that a super-journal is there, or not any more.
func (j *journals) setSuper(name string, there bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !there {
		delete(j.super, name)
		return
	}
	if j.super == nil {
		j.super = make(map[string]bool)
	}
	j.super[name] = true
}

// hasSuper tells whether a super-journal is there: one of ours, or of a main
// database that is a plain file of SQLite's own. A journal that names one counts as
// long as that is there.
func (j *journals) hasSuper(name string) bool {
	j.mu.Lock()
	there := j.super[name]
	j.mu.Unlock()
	if !there && strings.Contains(name, "-mj") {
		_, err := os.Stat(name)
		there = err == nil
	}
	return there
}

// journalFile is the rollback journal of a connection that writes. It lives as
// long as it is open: nothing is to be rolled back after a crash.
type journalFile struct {
	tempFile
	c    *conn
	name string
	all  *journals
}

// zeroedHeader is how much SQLite writes zeros over, for a journal that stays.
const zeroedHeader = 28

func (f *journalFile) WriteAt(p []byte, off int64) (n int, err error) {
	defer guard(f.c.log, "write journal", &err)
	if off == 0 && len(p) >= zeroedHeader && isZero(p) {
		if err := f.c.journalIsFinal(); err != nil {
			return 0, f.c.fail("commit", err)
		}
	}
	return f.tempFile.WriteAt(p, off)
}

func (f *journalFile) Truncate(size int64) (err error) {
	defer guard(f.c.log, "truncate journal", &err)
	if size == 0 {
		if err := f.c.journalIsFinal(); err != nil {
			return f.c.fail("commit", err)
		}
	}
	return f.tempFile.Truncate(size)
}

// Close comes before the journal is deleted, which makes it final; or after an
// error, and then nothing does.
func (f *journalFile) Close() (err error) {
	defer guard(f.c.log, "close journal", &err)
	if f.c.journal == f {
		f.c.journal = nil
		if f.c.tx != nil { // else it was one that stays, of a transaction that has ended
			f.all.close(f.name, f.c)
		}
	}
	f.c.journalMemory = f.spare()
	return f.tempFile.Close()
}

func isZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// superJournal ties the journals of several databases together that SQLite
// commits at once. It lives in memory: each database commits for itself.
type superJournal struct {
	tempFile
	check func(names []byte) error // refuses databases that would look for it after a crash
}

func (f *superJournal) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check(p); err != nil {
		return 0, sqlite3vfs.IOErrorWrite
	}
	return f.tempFile.WriteAt(p, off)
}
