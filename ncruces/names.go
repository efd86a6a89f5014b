package ncruces

import (
	"path"
	"sync"

	"github.com/ltxvfs/litestream/internal/openfiles"
)

// names knows which paths are replicas, and how programs spell them. SQLite knows
// a file by its absolute path without symbolic links, since local files need
// that. The library knows a database by the name that the program gave. The zero
// value knows no names. It is safe for concurrent use.
type names struct {
	openfiles.Names

	mu struct {
		sync.Mutex
		spelled map[string]spelling // paths that were resolved and are not open yet
	}
}

// spelling is the name that a program gave for a path.
type spelling struct {
	name  string
	times int // how often it was resolved and not opened
}

// maxSpelled bounds the number of paths that are resolved and never opened.
const maxSpelled = 1 << 12

// resolved notes that SQLite has resolved a name to a path. It opens the path next.
func (n *names) resolved(full, name string) {
	if name = path.Clean(name); name == full {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.spelled == nil || len(n.mu.spelled) >= maxSpelled {
		n.mu.spelled = make(map[string]spelling)
	}
	n.mu.spelled[full] = spelling{name, n.mu.spelled[full].times + 1}
}

// take returns the name of a path that SQLite opens. If two goroutines open a path
// by different names at the same time, it may return either.
func (n *names) take(full string) (name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.mu.spelled[full]
	if !ok {
		return full
	}
	if s.times--; s.times == 0 {
		delete(n.mu.spelled, full)
	} else {
		n.mu.spelled[full] = s
	}
	return s.name
}
