package extension

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/openfiles"
)

// Router decides which file names are replicas, and which are files of the
// operating system. A name is never both. Its zero value knows no names. It is
// safe for concurrent use.
type Router struct {
	names openfiles.Names // of databases that are open

	// mu is held while names changes, too.
	mu struct {
		sync.Mutex
		bound string            // first name that LITESTREAM_REPLICA_URL was used for
		urls  map[string]string // LITESTREAM_REPLICA_URL of replicas that are open, by name; not of those with a URL of their own
	}
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
// Parameters that LITESTREAM_URI_PARAMETERS does not allow are errors. A URI that was
// not read as one is an error where it would be the first name: the names that the
// program means to open would all be local files then.
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
	isFirst := r.mu.bound == "" && !exists && !r.names.IsLocal(n.Path)
	switch {
	case own:
		return "", false, r.add(n.Path, "")
	case n.Named && url == "":
		return "", false, ErrNoReplica
	case !n.Named && url != "" && isFirst && isUnreadURI(n.Path):
		return "", false, ErrUnreadURI
	case n.Named, url != "" && (isFirst || r.mu.bound == n.Path):
		if err := r.add(n.Path, url); err != nil {
			return "", false, err
		}
		if r.mu.bound == "" {
			r.mu.bound = n.Path
		}
		return url, false, nil
	case !n.Default && url == "" && !r.names.HasReplicas():
		return "", false, ErrNoReplica
	case r.names.IsReplica(n.Path):
		return "", false, fmt.Errorf("%s is open as a replica", openfiles.Shown(n.Path))
	case files == litestream.NoLocalFiles:
		return "", false, ErrNoLocalFiles
	case missing:
		return "", false, ErrNoNewLocalFiles
	}
	return "", true, r.names.AddLocal(n.Path)
}

// NotOpened undoes Open for a local file that could not be opened.
func (r *Router) NotOpened(path string) { r.names.RemoveLocal(path) }

// add records an open of a replica. The caller holds mu.
func (r *Router) add(path, url string) error {
	if old := r.mu.urls[path]; url != "" && old != "" && old != url {
		return fmt.Errorf("%s is open with another %s", openfiles.Shown(path), ReplicaURL)
	}
	if err := r.names.AddReplica(path); err != nil {
		return err
	}
	if url != "" {
		if r.mu.urls == nil {
			r.mu.urls = make(map[string]string)
		}
		r.mu.urls[path] = url
	}
	return nil
}

// Close undoes one Open of a replica.
func (r *Router) Close(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names.RemoveReplica(path); !r.names.IsReplica(path) {
		delete(r.mu.urls, path)
	}
}

// Companion reports whether a file beside a database, such as its journal, is one
// of a replica that is open.
func (r *Router) Companion(path string) bool { return r.names.IsCompanion(path) }

// Bound returns the name to which LITESTREAM_REPLICA_URL belongs, or "" if no
// such name was opened yet.
func (r *Router) Bound() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.bound
}
