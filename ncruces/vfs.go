package ncruces

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/mainfile"
	"github.com/ltxvfs/litestream/internal/openfiles"
	"github.com/ltxvfs/litestream/internal/superjournal"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/tempfile"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// binding is a litestream.VFS as the driver sees it. It is safe for concurrent
// use.
type binding struct {
	vfs    *litestream.VFS
	local  vfs.VFSFilename // serves files that are not replicas
	names  names
	supers *superjournal.Set
}

var _ vfs.VFSFilename = (*binding)(nil)

func newBinding(v *litestream.VFS) *binding {
	b := &binding{vfs: v, local: vfs.Find("os").(vfs.VFSFilename)}
	b.supers = superjournal.NewSet(b.log, isReplicas)
	return b
}

// bindings are those of the VFSs that are registered. A transaction may have a replica
// of one as its main database, and replicas of others attached. The slice is replaced
// as a whole, with registering held.
var bindings atomic.Pointer[[]*binding]

// addBinding adds a binding, and removes those that serve nothing any more. The caller
// holds registering.
func addBinding(b *binding) {
	all := []*binding{b}
	if before := bindings.Load(); before != nil {
		for _, other := range *before {
			if !other.vfs.IsClosed() || other.names.HasReplicas() {
				all = append(all, other)
			}
		}
	}
	bindings.Store(&all)
}

func anyBinding(is func(*binding) bool) bool {
	all := bindings.Load()
	return all != nil && slices.ContainsFunc(*all, is)
}

// isReplicas reports whether a journal is that of a replica that is open.
func isReplicas(journal string) bool {
	return anyBinding(func(b *binding) bool { return b.names.IsCompanion(journal) })
}

// isSuperJournal reports whether a file is a super-journal of a replica.
func isSuperJournal(path string) bool {
	return openfiles.IsSuperJournal(path) && anyBinding(func(b *binding) bool { return b.supers.Has(path) })
}

// log returns where the VFS logs to. The program may set that up to the first open,
// which is after it has registered the VFS.
func (b *binding) log() *slog.Logger {
	if b.vfs.Logger != nil {
		return b.vfs.Logger
	}
	return slog.Default()
}

// Open is never called, since the driver prefers OpenFilename.
func (b *binding) Open(name string, _ vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	return nil, 0, vfs.SystemError(fmt.Errorf("open %s: the driver is too old", name), sqlite3.CANTOPEN)
}

// OpenFilename opens a main database, or another file of SQLite's.
func (b *binding) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (f vfs.File, out vfs.OpenFlag, err error) {
	const temporary = vfs.OPEN_TEMP_DB | vfs.OPEN_TEMP_JOURNAL | vfs.OPEN_TRANSIENT_DB | vfs.OPEN_SUBJOURNAL
	switch {
	case name == nil || flags&temporary != 0:
		return b.local.OpenFilename(name, flags)
	case flags&vfs.OPEN_MAIN_DB != 0:
		f, out, err = b.openMain(name, flags)
	case flags&vfs.OPEN_SUPER_JOURNAL != 0 && b.names.IsCompanion(name.String()):
		return companion{b.supers.Open(name.String())}, flags, nil
	case mainOf(name.DatabaseFile()) == nil:
		return b.local.OpenFilename(name, flags)
	case flags&vfs.OPEN_MAIN_JOURNAL != 0:
		// A journal exists as long as it is open, since nothing is to be rolled
		// back after a crash.
		return companion{new(tempfile.File)}, flags, nil
	default:
		err = fmt.Errorf("open %s: there is no WAL mode", name.String())
		b.log().Error("open failed", "db", name.String(), "error", err)
	}
	if errors.Is(err, litestream.ErrLocalFile) {
		if err = b.names.AddLocal(name.String()); err == nil {
			if f, out, err = b.local.OpenFilename(name, flags); err != nil {
				b.names.RemoveLocal(name.String())
				b.log().Error("open failed", "db", name.String(), "error", err)
			}
			return f, out, err
		}
	}
	if err != nil {
		return nil, 0, vfs.SystemError(fmt.Errorf("litestream: %w", err), sqlite3.CANTOPEN)
	}
	return f, out, nil
}

// openMain opens a replica. For a local file the error is ErrLocalFile.
func (b *binding) openMain(filename *vfs.Filename, flags vfs.OpenFlag) (f vfs.File, out vfs.OpenFlag, err error) {
	defer task.Guard(b.log(), "open", &err)
	path := filename.String()
	name := b.names.take(path)
	defer func() {
		if err == nil || errors.Is(err, litestream.ErrLocalFile) {
			return
		}
		b.log().Error("open failed", "error", err)
	}()
	params := make(map[string]string)
	for key, values := range filename.URIParameters() {
		params[key] = values[0] // as sqlite3_uri_parameter
	}
	conn, err := b.vfs.OpenConn(name, params, litestream.OpenMode{
		ReadOnly:    flags&vfs.OPEN_READONLY != 0,
		Create:      flags&vfs.OPEN_CREATE != 0,
		SharedCache: flags&vfs.OPEN_SHAREDCACHE != 0,
	})
	if err != nil {
		return nil, 0, err
	}
	if err := b.names.AddReplica(path); err != nil {
		return nil, 0, fmt.Errorf("open %s: %w", name, errors.Join(err, conn.Close()))
	}
	if conn.IsReadOnly() {
		flags = flags&^(vfs.OPEN_READWRITE|vfs.OPEN_CREATE) | vfs.OPEN_READONLY
	}
	return &file{main: mainfile.New(conn), conn: conn, closed: func() { b.names.RemoveReplica(path) }}, flags, nil
}

// Delete deletes a file. Journals of replicas are deleted when they are closed.
func (b *binding) Delete(name string, syncDir bool) error {
	if b.names.IsCompanion(name) {
		b.supers.Delete(name)
		return nil
	}
	return b.local.Delete(name, syncDir)
}

// Access reports whether a file exists, or can be accessed. Journals of replicas
// are never found, since nothing is to be rolled back after a crash.
func (b *binding) Access(name string, flags vfs.AccessFlag) (bool, error) {
	if isSuperJournal(name) {
		return true, nil // it may be that of a replica of another VFS
	}
	if b.names.IsCompanion(name) {
		return b.supers.Exists(name), nil
	}
	return b.local.Access(name, flags)
}

// FullPathname returns the absolute path of a name, without symbolic links, as
// SQLite does for local files. The name of a replica need not be a path that can
// exist.
func (b *binding) FullPathname(name string) (string, error) {
	path, err := b.local.FullPathname(name)
	if path == "" {
		var isLink bool
		if path, isLink, err = follow(name); err != nil {
			return "", vfs.SystemError(err, sqlite3.CANTOPEN_FULLPATH)
		}
		if isLink {
			err = okSymlink
		}
	}
	b.names.resolved(path, name)
	return path, err
}

// okSymlink is the result code SQLITE_OK_SYMLINK.
const okSymlink = sqlite3.ExtendedErrorCode(2 << 8)

// maxLinks bounds the links that follow follows in a row.
const maxLinks = 100

// follow returns the absolute path of a name that the driver cannot resolve: a link
// to a file that does not exist, or a path in a folder that does not.
func follow(name string) (path string, isLink bool, err error) {
	path, err = filepath.Abs(name)
	if err != nil {
		return "", false, err
	}
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return path, isLink, nil // if it is a local file, the open reports the error
		}
		path = filepath.Join(dir, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			return path, isLink, nil
		}
		isLink = true
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", false, fmt.Errorf("%s: too many symbolic links", name)
}
