package litestream

import (
	"sync"

	"github.com/ltxvfs/litestream/internal/osvfs"
	"github.com/psanford/sqlite3vfs"
)

// resolvedNames tells which opens are for SQLite's shared cache. SQLite keeps the flag
// for that from a VFS, but it has the name resolved twice before it opens such a
// file: to look for one that is open, then to open it. It is safe for concurrent use.
type resolvedNames struct {
	mu   sync.Mutex              // duty: last
	last map[uint64]resolvedName // guarded by mu; by thread, until it opens a file
}

// resolvedName is the name that a thread had resolved last, so often in a row.
type resolvedName struct {
	name  string
	times int
}

// maxResolved bounds the names that are kept of threads that do not open them.
const maxResolved = 1 << 10

// resolve notes that a name was resolved.
func (r *resolvedNames) resolve(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	thread := osvfs.ThreadID()
	last := r.last[thread]
	if last.name != name {
		last = resolvedName{name: name}
	}
	last.times++
	if r.last == nil || len(r.last) >= maxResolved {
		r.last = make(map[uint64]resolvedName)
	}
	r.last[thread] = last
}

// open tells whether a main database is opened for a shared cache.
func (r *resolvedNames) open(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (shared bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	thread := osvfs.ThreadID()
	last := r.last[thread]
	delete(r.last, thread)
	return last.name == name && last.times > 1 || params["cache"] == "shared" || flags&sqlite3vfs.OpenSharedCache != 0
}
