//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/ltxvfs/litestream/internal/commitdetect"
	"github.com/ltxvfs/litestream/internal/osvfs"
	"github.com/ltxvfs/litestream/internal/task"
	"github.com/ltxvfs/litestream/internal/tempfile"
	"github.com/ltxvfs/litestream/internal/thread"
	"github.com/psanford/sqlite3vfs"
)

// VFS has the methods that psanford/sqlite3vfs asks for.
var (
	_ sqlite3vfs.VFS       = (*VFS)(nil)
	_ sqlite3vfs.URIOpener = (*VFS)(nil)
)

func init() { tempfile.SQLiteDirectory = osvfs.TempDirectory }

// driverState is the state of the adapter, set up by VFS.adapter.
type driverState struct {
	once     sync.Once
	log      *slog.Logger
	local    *osvfs.Set          // files that are no replicas
	files    *commitdetect.Files // replicas that are open, and their journals
	resolved resolvedNames       // names that SQLite has resolved and not opened yet
}

// adapter returns the state of the adapter.
func (v *VFS) adapter() *driverState {
	v.driver.once.Do(func() {
		v.driver.log = v.options().withDefaults().Logger
		v.driver.local = osvfs.NewSet()
		v.driver.files = commitdetect.NewFiles(v.driver.log, keyOfName, thread.ID)
	})
	return &v.driver
}

// Open is OpenURI without parameters.
func (v *VFS) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return v.OpenURI(name, nil, flags)
}

// OpenURI opens a database, or a temporary file of SQLite's.
//
// It never returns an error, because after a failed open sqlite3vfs closes the
// file that was opened first in the process. Instead it returns a file that fails
// at its first use, which is to read the database header. SQLite's open then fails
// with the same code. The method OpenError() error of that file returns the error.
func (v *VFS) OpenURI(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (f sqlite3vfs.File, out sqlite3vfs.OpenFlag, _ error) {
	log := v.adapter().log
	var err error
	func() {
		defer task.Guard(log, "open", &err)
		f, out, err = v.openFile(name, params, flags)
	}()
	if err != nil {
		log.Error("open failed", "error", err)
		return failedFile{err}, flags, nil
	}
	return f, out, nil
}

func (v *VFS) openFile(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	const temporary = sqlite3vfs.OpenTempDB | sqlite3vfs.OpenTempJournal | sqlite3vfs.OpenTransientDB | sqlite3vfs.OpenSubJournal
	d := v.adapter()
	switch {
	case name == "" || flags&temporary != 0 && flags&sqlite3vfs.OpenMainDB == 0:
		return companion{new(tempfile.File), d.log}, flags, nil
	case flags&sqlite3vfs.OpenMainDB == 0 && d.local.Has(name):
		return d.local.Open(name, params, flags)
	case flags&sqlite3vfs.OpenSuperJournal != 0:
		return companion{d.files.OpenSuperJournal(name), d.log}, flags, nil
	case flags&sqlite3vfs.OpenWAL != 0:
		return nil, 0, fmt.Errorf("open %s: there is no WAL mode", name)
	case flags&sqlite3vfs.OpenMainDB == 0:
		journal, err := d.files.OpenJournal(name, params)
		if err != nil {
			return nil, 0, err
		}
		return companion{journal, d.log}, flags, nil
	}
	c, err := v.OpenConn(name, params, OpenMode{
		ReadOnly:    flags&sqlite3vfs.OpenReadOnly != 0,
		Create:      flags&sqlite3vfs.OpenCreate != 0,
		SharedCache: d.resolved.open(name) || flags&sqlite3vfs.OpenSharedCache != 0,
	})
	if errors.Is(err, ErrLocalFile) {
		return d.local.Open(name, params, flags)
	}
	if err != nil {
		return nil, 0, err
	}
	if c.IsReadOnly() {
		flags = flags&^(sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate) | sqlite3vfs.OpenReadOnly
	}
	return &mainFile{d.files.Open(c, name, params), c}, flags, nil
}

// Delete removes a file of a local database. Other files exist only as long as
// they are open.
func (v *VFS) Delete(name string, dirSync bool) (err error) {
	defer v.guard("delete", &err)
	d := v.adapter()
	if d.local.Has(name) {
		return d.local.Delete(name, dirSync)
	}
	return driverError(d.files.Delete(name))
}

// Access reports whether a file of a local database exists. A replica has no
// journal that SQLite could find.
func (v *VFS) Access(name string, flags sqlite3vfs.AccessFlag) (ok bool, err error) {
	defer v.guard("access", &err)
	d := v.adapter()
	if d.local.Has(name) {
		return d.local.Access(name, flags)
	}
	return d.files.Exists(name), nil
}

// FullPathname returns the same name for different spellings of it.
func (v *VFS) FullPathname(name string) string {
	name = cleanName(name)
	v.adapter().resolved.resolve(name)
	return name
}
