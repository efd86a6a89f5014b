//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"sync"

	"github.com/ltxvfs/litestream/internal/thread"
)

// resolvedNames finds opens for SQLite's shared cache. SQLite does not pass the
// flag for that to a VFS, but it resolves the name twice before it opens such a
// file: to look for a cache that is open, and to open the file. resolvedNames is
// safe for concurrent use.
type resolvedNames struct {
	mu struct {
		sync.Mutex
		last map[uint64]resolvedName // by thread, until the thread opens a file
	}
}

// resolvedName is the name that a thread has resolved last, with the number of
// times in a row.
type resolvedName struct {
	name  string
	times int
}

// maxResolved bounds the number of names of threads that do not open them.
const maxResolved = 1 << 10

// resolve records that the current thread has resolved a name.
func (r *resolvedNames) resolve(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := thread.ID()
	last := r.mu.last[id]
	if last.name != name {
		last = resolvedName{name: name}
	}
	last.times++
	if r.mu.last == nil || len(r.mu.last) >= maxResolved {
		r.mu.last = make(map[uint64]resolvedName)
	}
	r.mu.last[id] = last
}

// open reports whether a main database is opened for a shared cache.
func (r *resolvedNames) open(name string) (shared bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := thread.ID()
	last := r.mu.last[id]
	delete(r.mu.last, id)
	return last.name == name && last.times > 1
}
