package ncruces

import (
	"fmt"
	"path"
	"strings"
	"sync"
)

// names knows which paths are replicas, and how programs spell them. SQLite knows
// a file by its absolute path without symbolic links, since local files need
// that. The library knows a database by the name that the program gave. The zero
// value knows no names. It is safe for concurrent use.
type names struct {
	mu struct {
		sync.Mutex
		spelled  map[string]spelling // paths that were resolved and are not open yet
		replicas map[string]int      // number of opens of replicas, by path
		local    map[string]int      // number of opens of local files, by path; their closes are not known
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

// open notes that a replica was opened.
func (n *names) open(full string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.local[full] > 0 {
		return fmt.Errorf("%s was opened as a local file before", full)
	}
	if n.mu.replicas == nil {
		n.mu.replicas = make(map[string]int)
	}
	n.mu.replicas[full]++
	return nil
}

// close undoes one open.
func (n *names) close(full string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.replicas[full]--; n.mu.replicas[full] == 0 {
		delete(n.mu.replicas, full)
	}
}

// openLocal notes that a local file is opened. It fails if the path is open as a
// replica as well, whose journals are not on disk.
func (n *names) openLocal(full string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.replicas[full] > 0 {
		return fmt.Errorf("%s is open as a replica, under another name", full)
	}
	if n.mu.local == nil {
		n.mu.local = make(map[string]int)
	}
	n.mu.local[full]++
	return nil
}

// closeLocal undoes openLocal for a file that could not be opened.
func (n *names) closeLocal(full string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.local[full]--; n.mu.local[full] == 0 {
		delete(n.mu.local, full)
	}
}

// isCompanion reports whether a file is a journal or a super-journal of a replica
// that is open.
func (n *names) isCompanion(file string) bool {
	const superSuffix = len("-mj012345678")
	full, ok := strings.CutSuffix(file, "-journal")
	if !ok {
		full, ok = strings.CutSuffix(file, "-wal")
	}
	if i := len(file) - superSuffix; !ok && i > 0 && strings.HasPrefix(file[i:], "-mj") {
		full, ok = file[:i], true
	}
	if !ok {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.replicas[full] > 0
}
