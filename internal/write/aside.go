package write

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ownfile"
)

// keptSegment describes a segment that is kept aside.
type keptSegment struct {
	number uint64
	log    *commitlog.Segment // nil: the file cannot be read as a segment
	copied bool               // the file also stays under its own name
}

// keptError is why commits are not on the replica. It says where they are kept, as
// soon as that is known.
type keptError struct {
	err  error
	kept atomic.Pointer[keptPlace]
	done chan struct{} // closed when the commits are kept, or that has failed
}

// keptPlace is what came of keeping commits.
type keptPlace struct {
	path    string // of the buffer that they are in; empty if there are none
	problem error  // why they are not all there; nil if they are
}

func newKeptError(err error) *keptError { return &keptError{err: err, done: make(chan struct{})} }

// keptAt records the path at which the commits are kept, "" if there are none, and
// the problem if not all of them could be kept there.
func (e *keptError) keptAt(path string, problem error) {
	e.kept.Store(&keptPlace{path, problem})
	close(e.done)
}

func (e *keptError) Error() string {
	k := e.kept.Load()
	switch {
	case k == nil, k.path == "" && k.problem == nil:
		return e.err.Error()
	case k.problem == nil && errors.Is(e.err, errs.ErrConflict):
		// The replica went on without them, so no open of it syncs them.
		return fmt.Sprintf("%s; the commits are kept in %s, a write buffer of its own", e.err, k.path)
	case k.problem == nil:
		return fmt.Sprintf("%s; the commits are kept in %s, which a database opened with that write buffer syncs", e.err, k.path)
	case k.path == "":
		return fmt.Sprintf("%s; keeping the commits failed: %s", e.err, k.problem)
	}
	return fmt.Sprintf("%s; keeping the commits failed: %s; what could be kept is in %s", e.err, k.problem, k.path)
}

func (e *keptError) Unwrap() []error {
	if k := e.kept.Load(); k != nil && k.problem != nil {
		return []error{e.err, k.problem}
	}
	return []error{e.err}
}

// keepAside keeps segments that are neither on the replica nor replayed. It
// renames them, or copies them if their files are temporary, so that they become
// a buffer of their own at the path that it returns. After an error, some of them may
// be there.
func (b *writeBuffer) keepAside(segments []keptSegment) (path string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.active = nil
	if len(segments) == 0 {
		return "", nil
	}
	if b.isTemp() {
		f, err := createKept()
		if err != nil {
			return "", err
		}
		path = f.Name()
		if err := f.Close(); err != nil {
			return path, err
		}
	} else {
		path = b.asidePath()
	}
	kept := &writeBuffer{path: path}
	// What can be replayed begins with the oldest segment, because that names the state
	// of the replica that all of them follow. So if this ends in between, those that are
	// left have to begin with it: those that stay if they are renamed, and the copies if
	// their files are temporary.
	order := slices.Backward(segments)
	if b.isTemp() {
		order = slices.All(segments)
	}
	for _, s := range order {
		name := kept.segmentPath(s.number)
		if s.copied || b.isTemp() {
			err = b.do("copy segment", func() error { return b.copySegment(name, s.log) })
		} else {
			err = b.do("rename segment", func() error { return ownfile.Rename(b.segmentPath(s.number), name) })
		}
		if err != nil {
			return path, fmt.Errorf("keep segment %d as %s: %w", s.number, name, err)
		}
		if !s.copied {
			delete(b.mu.files, s.number) // views that are pinned may go on reading it
		}
	}
	return path, b.do("sync folder", func() error { return ownfile.SyncDir(filepath.Dir(path)) })
}

// createKept makes a file with a new name in the folder of the user's state, or in
// that of temporary files if there is none.
func createKept() (*os.File, error) {
	const pattern = "litestream-buffer-*.kept"
	if dir := stateDir(); dir != "" {
		if err := os.MkdirAll(dir, 0o700); err == nil {
			if f, err := os.CreateTemp(dir, pattern); err == nil {
				return f, nil
			}
		}
	}
	return os.CreateTemp("", pattern)
}

// stateDir returns the folder in which programs keep what must survive a restart,
// "" if the user has none. On Unix it is that of the XDG Base Directory
// Specification.
func stateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "litestream")
	}
	switch runtime.GOOS {
	case "windows", "darwin", "ios", "plan9":
		if dir, err := os.UserConfigDir(); err == nil {
			return filepath.Join(dir, "litestream")
		}
	default:
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, ".local", "state", "litestream")
		}
	}
	return ""
}

// asidePath returns the path of a new buffer beside this one.
func (b *writeBuffer) asidePath() string {
	at := b.path + ".kept-" + time.Now().UTC().Format("20060102T150405.000")
	for n := 1; ; n++ {
		path := at
		if n > 1 {
			path += "-" + strconv.Itoa(n)
		}
		if taken, err := filepath.Glob(path + "-*"); len(taken) == 0 || err != nil {
			return path
		}
	}
}

// copySegment copies the file of a segment. It copies damaged bytes too, and logs
// the damage.
func (b *writeBuffer) copySegment(name string, s *commitlog.Segment) error {
	f, err := ownfile.Create(name)
	if err != nil {
		return err
	}
	err = s.CopyTo(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		if rerr := s.Compare(f); rerr != nil {
			b.log.Error("a segment of the write buffer is not as it was written, and is kept as it is", "kept", name, "error", rerr)
		}
	}
	return errors.Join(err, f.Close())
}
