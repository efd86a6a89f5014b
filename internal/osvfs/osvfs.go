// Package osvfs opens plain local files for SQLite through SQLite's own VFS for
// the operating system, so that locks and recovery are the same as in every
// other program that uses the file.
package osvfs

/*
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
#include <errno.h>
#include <stdlib.h>
#include "osvfs.h"

static void ls_clear_errno(void) { errno = 0; }
*/
import "C"

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"github.com/psanford/sqlite3vfs"

	"github.com/ltxvfs/litestream/internal/openfiles"
)

// Set knows which names are local files: databases that were opened here,
// and the files that SQLite keeps beside them. It is safe for concurrent use.
type Set struct {
	mu struct {
		sync.Mutex
		names map[string]string // absolute path of each database, by name; never deleted
	}
}

// ClearErrno sets errno of the thread to 0. SQLite asks for errno after an error of a
// file, and drivers add its text, but only SQLite's own VFS sets it. It is called in a
// call from SQLite that returns an error of ours.
func ClearErrno() { C.ls_clear_errno() }

// NewSet returns an empty set.
func NewSet() *Set {
	s := new(Set)
	s.mu.names = make(map[string]string)
	return s
}

// path returns the path of a database of the set or of a companion of one. The name
// of another database may begin with that of one of the set and a dash.
func (s *Set) path(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.mu.names[name]; ok {
		return p, true
	}
	database := openfiles.DatabaseOf(name)
	p, ok := s.mu.names[database]
	return p + name[len(database):], ok
}

// Has reports whether name is a local database or a companion of one.
func (s *Set) Has(name string) bool {
	_, ok := s.path(name)
	return ok
}

// Open opens a companion of a database of the set, or a database and adds it to
// the set.
func (s *Set) Open(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	path, known := s.path(name)
	if flags&sqlite3vfs.OpenMainDB != 0 {
		// The name may look like that of a companion, or have led elsewhere before.
		var err error
		if path, err = resolve(name, flags&sqlite3vfs.OpenNoFollow != 0); err != nil {
			return nil, 0, sqlite3vfs.CantOpenError
		}
		s.mu.Lock()
		s.mu.names[name] = path
		s.mu.Unlock()
	} else if !known {
		return nil, 0, sqlite3vfs.CantOpenError
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	cparams := make([]*C.char, 0, 2*len(params)+1)
	for k, v := range params {
		cparams = append(cparams, C.CString(k), C.CString(v))
	}
	defer func() {
		for _, p := range cparams {
			C.free(unsafe.Pointer(p))
		}
	}()
	// The array is passed to C, so it must not be Go memory that holds pointers.
	size := C.size_t(len(cparams)+1) * C.size_t(unsafe.Sizeof(uintptr(0)))
	array := (**C.char)(C.calloc(1, size))
	defer C.free(unsafe.Pointer(array))
	copy(unsafe.Slice(array, len(cparams)), cparams)

	h := (*C.ls_handle)(C.calloc(1, C.sizeof_ls_handle))
	var out C.int
	if rc := C.ls_open(cpath, C.int(len(params)), array, C.int(flags), &out, h); rc != 0 {
		C.free(unsafe.Pointer(h))
		return nil, 0, toError(rc)
	}
	if out == 0 {
		out = C.int(flags)
	}
	return &file{h}, sqlite3vfs.OpenFlag(out), nil
}

// resolve returns the absolute path without links of a file, which need not exist.
// SQLite does the same before it opens a file, so that a program that opens it by
// another name finds the same journal beside it.
func resolve(name string, noFollow bool) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	path := abs
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return path, nil // the open reports the error
		}
		path = filepath.Join(dir, filepath.Base(path))
		target, err := os.Readlink(path)
		if err != nil {
			if noFollow && path != abs {
				return "", errLink
			}
			return path, nil
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", errLink
}

// maxLinks bounds the links that are followed in a row.
const maxLinks = 100

var errLink = errors.New("too many symbolic links, or one where none is allowed")

// Delete removes a file of the set.
func (s *Set) Delete(name string, dirSync bool) error {
	path, ok := s.path(name)
	if !ok {
		return sqlite3vfs.IOError
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var sync C.int
	if dirSync {
		sync = 1
	}
	return toError(C.ls_delete(cpath, sync))
}

// Access reports whether a file of the set exists, or can be accessed.
func (s *Set) Access(name string, flags sqlite3vfs.AccessFlag) (bool, error) {
	path, ok := s.path(name)
	if !ok {
		return false, nil
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var out C.int
	rc := C.ls_access(cpath, C.int(flags), &out)
	return out != 0, toError(rc)
}

// TempDirectory returns sqlite3_temp_directory, the folder for temporary files that
// a program can set. It is "" if the program has not set it.
func TempDirectory() string {
	dir := C.ls_temp_directory()
	defer C.free(unsafe.Pointer(dir))
	return C.GoString(dir)
}

// SetTempDirectory sets sqlite3_temp_directory, for tests. The function restore
// sets the variable back.
func SetTempDirectory(dir string) (restore func()) {
	old := TempDirectory()
	setTempDirectory(dir)
	return func() { setTempDirectory(old) }
}

func setTempDirectory(dir string) {
	path := C.CString(dir)
	defer C.free(unsafe.Pointer(path))
	C.ls_set_temp_directory(path)
}

// file is an open local file. One connection uses it.
type file struct{ h *C.ls_handle }

var _ sqlite3vfs.File = (*file)(nil)

// Extended result codes of SQLite.
const (
	ioErrShortRead   = 522
	ioErrDeleteNoEnt = 5898
)

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	rc := C.ls_read(f.h, unsafe.Pointer(&p[0]), C.int(len(p)), C.ls_int64(off))
	if rc == ioErrShortRead {
		size, err := f.FileSize()
		if err != nil {
			return 0, err
		}
		return int(min(max(size-off, 0), int64(len(p))-1)), io.EOF
	}
	if rc != 0 {
		return 0, toError(rc)
	}
	return len(p), nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if rc := C.ls_write(f.h, unsafe.Pointer(&p[0]), C.int(len(p)), C.ls_int64(off)); rc != 0 {
		return 0, toError(rc)
	}
	return len(p), nil
}

func (f *file) FileSize() (int64, error) {
	var size C.ls_int64
	rc := C.ls_size(f.h, &size)
	return int64(size), toError(rc)
}

// CheckReservedLock returns the opposite of the right answer, since sqlite3vfs
// inverts the answer on its way to C.
func (f *file) CheckReservedLock() (bool, error) {
	var out C.int
	rc := C.ls_check_reserved(f.h, &out)
	return out == 0, toError(rc)
}

func (f *file) Close() error {
	rc := C.ls_close(f.h)
	C.free(unsafe.Pointer(f.h))
	return toError(rc)
}

func (f *file) Truncate(size int64) error            { return toError(C.ls_truncate(f.h, C.ls_int64(size))) }
func (f *file) Sync(flag sqlite3vfs.SyncType) error  { return toError(C.ls_sync(f.h, C.int(flag))) }
func (f *file) Lock(level sqlite3vfs.LockType) error { return toError(C.ls_lock(f.h, C.int(level))) }
func (f *file) Unlock(level sqlite3vfs.LockType) error {
	return toError(C.ls_unlock(f.h, C.int(level)))
}
func (f *file) SectorSize() int64 { return int64(C.ls_sector_size(f.h)) }
func (f *file) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return sqlite3vfs.DeviceCharacteristic(C.ls_characteristics(f.h))
}

// toError returns the nearest error for a result code that sqlite3vfs can turn
// back into a code.
func toError(rc C.int) error {
	switch rc {
	case 0, ioErrDeleteNoEnt:
		return nil // the file to delete does not exist
	case 266:
		return sqlite3vfs.IOErrorRead
	case 778:
		return sqlite3vfs.IOErrorWrite
	}
	switch rc & 0xff {
	case 3:
		return sqlite3vfs.PermError
	case 5:
		return sqlite3vfs.BusyError
	case 6:
		return sqlite3vfs.LockedError
	case 7:
		return sqlite3vfs.NoMemError
	case 8:
		return sqlite3vfs.ReadOnlyError
	case 10:
		return sqlite3vfs.IOError
	case 13:
		return sqlite3vfs.FullError
	case 14:
		return sqlite3vfs.CantOpenError
	default:
		return sqlite3vfs.GenericError
	}
}
