package extension

import (
	"errors"
	"fmt"
	"regexp"
	"sync"

	"github.com/ltxvfs/litestream"
)

// Router decides which file names are replicas, and which are files of the
// operating system. A name is never both. Its zero value knows no names. It is
// safe for concurrent use.
type Router struct {
	mu struct {
		sync.Mutex
		bound    string              // first name that LITESTREAM_REPLICA_URL was used for
		replicas map[string]*replica // replicas that are open, by name
		local    map[string]int      // number of opens of local files, by name; their closes are not reported
	}
}

type replica struct {
	url   string // value of LITESTREAM_REPLICA_URL, or "" if the name had a URL of its own
	opens int
}

// Name is the file name of a database, with what is known about how it was
// given.
type Name struct {
	Path   string            // absolute
	Params map[string]string // parameters of the URI

	// Named is set if the URI names the VFS, which means that the name is a
	// replica.
	Named bool

	// Default is set if the extension is SQLite's default VFS, which opens all
	// kinds of files.
	Default bool

	// Exists reports whether there is a file of this name. It is called only
	// where the decision depends on it.
	Exists func() bool
}

// ErrNoReplica means that nothing says where the replica is.
var ErrNoReplica = errors.New("no replica: set " + ReplicaURL + ", or give replica_url=... in the file name")

// ErrNoLocalFiles means that a name has no replica, and that local files are
// not allowed.
var ErrNoLocalFiles = errors.New("it has no replica, and " + LocalFiles + " allows no local files")

// ErrNoNewLocalFiles means that a name has no replica and no file, and that new
// local files are not allowed.
var ErrNoNewLocalFiles = errors.New("it has no replica, and " + LocalFiles + " allows no new local files")

// Open decides whether a database that SQLite opens is a replica or a local file. If
// it is a replica, url is LITESTREAM_REPLICA_URL, or "" if the name has a URL of its
// own. The caller calls Close for the path when the database is closed.
//
//   - A name with a replica_url is a replica of its own.
//   - A name that says vfs=litestream is the replica of the environment.
//   - The first of all other names is the replica of the environment, and stays it.
//     The rest are local files, unless LITESTREAM_LOCAL_FILES forbids that. With the
//     default VFS, a file that exists is never the first.
//
// Parameters that LITESTREAM_URI_PARAMETERS does not allow are errors.
func (r *Router) Open(n Name, environment Environment) (url string, local bool, err error) {
	if err := environment.Allow(n.Params); err != nil {
		return "", false, err
	}
	files, err := environment.localFiles()
	if err != nil {
		return "", false, err
	}
	url = environment[ReplicaURL]
	own := n.Params[replicaURL] != ""
	exists := !own && !n.Named && n.Default && n.Exists()
	missing := !own && !n.Named && files == litestream.ExistingLocalFiles && !exists && !n.Exists()

	r.mu.Lock()
	defer r.mu.Unlock()
	isFirst := r.mu.bound == "" && !exists && r.mu.local[n.Path] == 0
	switch {
	case own:
		return "", false, r.add(n.Path, "")
	case n.Named && url == "":
		return "", false, ErrNoReplica
	case n.Named, url != "" && (isFirst || r.mu.bound == n.Path):
		if err := r.add(n.Path, url); err != nil {
			return "", false, err
		}
		if r.mu.bound == "" {
			r.mu.bound = n.Path
		}
		return url, false, nil
	case !n.Default && url == "" && len(r.mu.replicas) == 0:
		return "", false, ErrNoReplica
	case r.mu.replicas[n.Path] != nil:
		return "", false, fmt.Errorf("%s is open as a replica", n.Path)
	case files == litestream.NoLocalFiles:
		return "", false, ErrNoLocalFiles
	case missing:
		return "", false, ErrNoNewLocalFiles
	}
	if r.mu.local == nil {
		r.mu.local = make(map[string]int)
	}
	r.mu.local[n.Path]++
	return "", true, nil
}

// NotOpened undoes Open for a local file that could not be opened.
func (r *Router) NotOpened(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.local[path]--; r.mu.local[path] <= 0 {
		delete(r.mu.local, path)
	}
}

// add records an open of a replica. The caller holds mu.
func (r *Router) add(path, url string) error {
	if r.mu.local[path] > 0 {
		return fmt.Errorf("%s was opened as a local file before", path)
	}
	open := r.mu.replicas[path]
	if open == nil {
		if r.mu.replicas == nil {
			r.mu.replicas = make(map[string]*replica)
		}
		open = &replica{url: url}
		r.mu.replicas[path] = open
	}
	if url != "" && open.url != "" && open.url != url {
		return fmt.Errorf("%s is open with another %s", path, ReplicaURL)
	}
	if url != "" {
		open.url = url
	}
	open.opens++
	return nil
}

// Close undoes one Open of a replica.
func (r *Router) Close(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	open := r.mu.replicas[path]
	if open.opens--; open.opens == 0 {
		delete(r.mu.replicas, path)
	}
}

// Companion reports whether a file beside a database, such as its journal, is one
// of a replica that is open.
func (r *Router) Companion(path string) bool {
	main := companion.ReplaceAllString(path, "")
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.replicas[main] != nil
}

// companion matches the suffixes that SQLite appends to the name of a database
// to name its other files.
var companion = regexp.MustCompile(`-(journal|wal|mj[0-9A-F]{9})$`)

// Bound returns the name to which LITESTREAM_REPLICA_URL belongs, or "" if no
// such name was opened yet.
func (r *Router) Bound() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.bound
}
