// Package openfiles knows which main database files are open through a VFS, for
// every binding of SQLite.
package openfiles

import (
	"fmt"
	"strings"
	"sync"
)

// Names knows the main databases that are open, by path. A path is a replica's or a
// local file's and never both, because the journals of a replica are not on disk.
// Its zero value knows no names. It is safe for concurrent use.
type Names struct {
	mu struct {
		sync.Mutex
		replicas map[string]int // number of opens of replicas
		local    map[string]int // number of opens of local files; their closes are not reported
	}
}

// AddReplica records an open of a replica. RemoveReplica undoes it.
func (n *Names) AddReplica(path string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.local[path] > 0 {
		return fmt.Errorf("%s was opened as a local file before", Shown(path))
	}
	if n.mu.replicas == nil {
		n.mu.replicas = make(map[string]int)
	}
	n.mu.replicas[path]++
	return nil
}

// RemoveReplica records the close of a replica.
func (n *Names) RemoveReplica(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.replicas[path]--; n.mu.replicas[path] == 0 {
		delete(n.mu.replicas, path)
	}
}

// AddLocal records an open of a local file. RemoveLocal undoes it, if the open fails.
func (n *Names) AddLocal(path string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.replicas[path] > 0 {
		return fmt.Errorf("%s is open as a replica", Shown(path))
	}
	if n.mu.local == nil {
		n.mu.local = make(map[string]int)
	}
	n.mu.local[path]++
	return nil
}

// RemoveLocal records that a local file could not be opened.
func (n *Names) RemoveLocal(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mu.local[path]--; n.mu.local[path] <= 0 {
		delete(n.mu.local, path)
	}
}

// IsLocal reports whether a path was opened as a local file.
func (n *Names) IsLocal(path string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.local[path] > 0
}

// IsReplica reports whether a path is open as a replica.
func (n *Names) IsReplica(path string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.replicas[path] > 0
}

// HasReplicas reports whether any replica is open.
func (n *Names) HasReplicas() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.mu.replicas) > 0
}

// IsCompanion reports whether a file beside a database, such as its journal, is one
// of a replica that is open.
func (n *Names) IsCompanion(path string) bool {
	return n.IsReplica(DatabaseOf(path))
}

// DatabaseOf returns the path of the database of a companion: SQLite names its other
// files by suffixes. Other paths stay as they are. It is called in every
// transaction.
func DatabaseOf(path string) string {
	i := strings.LastIndexByte(path, '-')
	if i < 0 {
		return path
	}
	if suffix := path[i+1:]; suffix == "journal" || suffix == "wal" || isSuper(suffix) {
		return path[:i]
	}
	return path
}

// IsSuperJournal reports whether a path ends as the name of a super-journal does.
func IsSuperJournal(path string) bool {
	i := strings.LastIndexByte(path, '-')
	return i >= 0 && isSuper(path[i+1:])
}

// superDigits is the number of hex digits in the name of a super-journal.
const superDigits = 9

// isSuper reports whether a suffix is that of a super-journal.
func isSuper(suffix string) bool {
	return len(suffix) == len("mj")+superDigits && suffix[:2] == "mj" && strings.Trim(suffix[2:], "0123456789ABCDEF") == ""
}
