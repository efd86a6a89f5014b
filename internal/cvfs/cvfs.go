//go:build cgo

// Package cvfs is a VFS for SQLite in C. The loadable extension and Go programs with
// mattn/go-sqlite3 use the same code.
//
// vfs.c and file.c are the VFS as SQLite sees it. functions.c has the SQL functions,
// and changes.c the table-valued one. They call the functions in files.go and
// changes.go, and name open files by handles.
// Package mainfile turns SQLite's locks and commits into calls of a Conn. Local
// files are not seen here: SQLite's own VFS opens them on the same sqlite3_file.
//
// SQLite is called through a table of its functions, sqlite3_api_routines, so that
// the package need not be linked with a library of SQLite. The extension gets the
// table when it is loaded; package linked has one for the library that a program
// is linked with.
package cvfs

/*
#cgo CFLAGS: -fvisibility=hidden
#include <stdlib.h>
#include "vfs.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/cgo"
	"runtime/debug"
	"slices"
	"sync"
	"unsafe"

	"github.com/ltxvfs/litestream/internal/mainfile"
	"github.com/ltxvfs/litestream/internal/openfiles"
	"github.com/ltxvfs/litestream/internal/superjournal"
)

// Engine serves the databases of a VFS. It is safe for concurrent use.
type Engine interface {
	// Open opens a main database. ErrLocalFile means that SQLite opens it.
	Open(n Name) (Conn, error)

	// NotOpened is called with the path of a local file that SQLite could not open.
	NotOpened(path string)

	// IsCompanion reports whether a file beside a database, such as its journal, is
	// one of a replica that is open.
	IsCompanion(path string) bool

	// CodeOf returns SQLite's result code for an error of a Conn, 0 for nil.
	CodeOf(err error) int

	// CodeOfCommit returns the result code for an error of Conn.Commit, after which
	// SQLite must forget the pages that it has cached.
	CodeOfCommit(err error) int

	Log() *slog.Logger
}

// ErrLocalFile means that a name belongs to a plain local file.
var ErrLocalFile = errors.New("not a replica, but a local file")

// Conn is the main database file of a connection, which litestream.Conn documents.
type Conn interface {
	mainfile.Conn
	FileSize() (int64, error)
	IsReadOnly() bool
	SetInterrupted(interrupted func() bool)
	SetStatement(text func() string)
	Pragma(name string, value *string) (*string, error)

	// Changes returns the rows of litestream_changes. An argument is nil for NULL.
	Changes(table, from, to *string) (Rows, error)
}

// Rows are the rows of a table-valued function, which litestream.ChangeRows documents.
type Rows interface {
	Next() (bool, error)
	Value(column int) any
	Close()
}

// Name is the name of a main database that SQLite opens.
type Name struct {
	Path    string            // absolute, as SQLite resolves it
	Given   string            // as the program has given it, if that is known
	Params  map[string]string // parameters of the URI
	Default bool              // the VFS is SQLite's default, which opens all kinds of files

	ReadOnly    bool // SQLITE_OPEN_READONLY
	Create      bool // SQLITE_OPEN_CREATE
	SharedCache bool // SQLite opens the file for its shared cache
}

// VFS is a VFS that SQLite can use for ever.
type VFS struct {
	engine Engine
	supers *superjournal.Set
	c      *C.ls_vfs
}

// New makes a VFS that is not registered yet. The table of SQLite's functions must
// have been set.
func New(name string, engine Engine) (*VFS, error) {
	v := &VFS{engine: engine}
	v.supers = superjournal.NewSet(engine.Log, isReplicas)
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	h := cgo.NewHandle(v)
	if v.c = C.ls_vfs_new(cname, C.uintptr_t(h)); v.c == nil {
		h.Delete()
		return nil, errors.New("SQLite has no default VFS, or there is no memory")
	}
	all.Lock()
	defer all.Unlock()
	all.vfss = append(all.vfss, v)
	return v, nil
}

// ErrRegistered means that SQLite has a VFS of the name.
var ErrRegistered = errors.New("a VFS of that name is registered already")

// Register makes a VFS and registers it with the SQLite library whose table of
// functions is given. Connections that use it have the SQL functions, and their open
// fails with the text of the error.
func Register(routines unsafe.Pointer, name string, engine Engine) error {
	registering.Lock()
	defer registering.Unlock()
	registering.once.Do(func() { C.ls_set_api((*C.sqlite3_api_routines)(routines)) })
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	if C.ls_vfs_exists(cname) != 0 {
		return ErrRegistered
	}
	v, err := New(name, engine)
	if err != nil {
		return err
	}
	rc := C.ls_vfs_register(v.c, 0)
	if rc == 0 {
		rc = C.ls_watch_connections()
	}
	if rc != 0 {
		return fmt.Errorf("SQLite does not take the VFS, with result code %d", rc)
	}
	return nil
}

// registering is locked while one goroutine looks for a name and registers it.
var registering struct {
	sync.Mutex
	once sync.Once
}

// all are the VFSs. A transaction may have a replica of one as its main database,
// and replicas of others attached.
var all struct {
	sync.RWMutex
	vfss []*VFS
}

func anyVFS(is func(*VFS) bool) bool {
	all.RLock()
	defer all.RUnlock()
	return slices.ContainsFunc(all.vfss, is)
}

// isReplicas reports whether a journal is that of a replica that is open.
func isReplicas(journal string) bool {
	return anyVFS(func(v *VFS) bool { return v.engine.IsCompanion(journal) })
}

// isSuperJournal reports whether a file is a super-journal of a replica.
func isSuperJournal(path string) bool {
	return openfiles.IsSuperJournal(path) && anyVFS(func(v *VFS) bool { return v.supers.Has(path) })
}

// Pointer returns the ls_vfs of the VFS.
func (v *VFS) Pointer() unsafe.Pointer { return unsafe.Pointer(v.c) }

func vfsOf(h C.uintptr_t) *VFS { return cgo.Handle(h).Value().(*VFS) }

// guard, deferred, keeps a panic from C.
func (v *VFS) guard(op string, failed func()) {
	if r := recover(); r != nil {
		v.engine.Log().Error("panic", "op", op, "panic", r, "stack", string(debug.Stack()))
		failed()
	}
}

// uriParams returns the parameters of a name that SQLite gave to xOpen.
func uriParams(name *C.char, flags C.int) map[string]string {
	params := make(map[string]string)
	if flags&C.SQLITE_OPEN_URI == 0 { // a VFS that made the name itself need not put anything after it
		return params
	}
	for i := C.int(0); ; i++ {
		key := C.ls_uri_key(name, i)
		if key == nil {
			return params
		}
		params[C.GoString(key)] = C.GoString(C.ls_uri_parameter(name, key))
	}
}
