//go:build SQLITE3VFS_LOADABLE_EXT

package main

/*
#include <stdlib.h>
#include "vfs.h"
*/
import "C"

import (
	"fmt"
	"io"
	"runtime/cgo"
	"unsafe"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/extension"
	"github.com/ltxvfs/litestream/internal/mainfile"
	"github.com/ltxvfs/litestream/internal/tempfile"
)

// file is what main files and journals have in common.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	FileSize() (int64, error)
}

// mainFile is the main file of a database. The methods of mainfile.File are those
// that SQLite's locks and commits need.
type mainFile struct {
	*mainfile.File
	conn *litestream.Conn
}

func (f *mainFile) ReadAt(p []byte, off int64) (int, error) { return f.conn.ReadAt(p, off) }
func (f *mainFile) FileSize() (int64, error)                { return f.conn.FileSize() }

// handle is an open file. SQLite has a number for it.
type handle struct {
	file
	main   *mainFile // nil for files other than databases
	closed func()    // called after the close; nil for files other than databases
}

func fileOf(h C.uintptr_t) *handle { return cgo.Handle(h).Value().(*handle) }

// litestreamOpen opens a database, or a companion of one. If it returns LS_OPENED,
// it has set h to the handle and got to the flags. If it returns LS_FAILED, it has
// set err to a text that the caller frees.
//
//export litestreamOpen
func litestreamOpen(name *C.char, flags, isDefault C.int, got *C.int, h *C.uintptr_t, err **C.char) (result C.int) {
	defer guard("open", func() { result, *err = C.LS_FAILED, C.CString("panic, see the log") })
	f, local, oerr := open(name, flags, isDefault != 0)
	switch {
	case oerr != nil:
		*err = C.CString("litestream: " + oerr.Error())
		return C.LS_FAILED
	case local:
		return C.LS_LOCAL
	}
	*h, *got = C.uintptr_t(cgo.NewHandle(f)), flags
	if f.main != nil && f.main.conn.IsReadOnly() {
		*got = flags&^(C.SQLITE_OPEN_READWRITE|C.SQLITE_OPEN_CREATE) | C.SQLITE_OPEN_READONLY
	}
	return C.LS_OPENED
}

func open(cname *C.char, flags C.int, isDefault bool) (f *handle, local bool, err error) {
	path := C.GoString(cname)
	if flags&C.SQLITE_OPEN_MAIN_DB == 0 {
		return openCompanion(path, flags)
	}
	defer func() {
		if err != nil {
			logger.Error("open failed", "db", path, "error", err)
		}
	}()
	env := environment()
	params := uriParams(cname)
	url, local, err := router.Open(extension.Name{
		Path:    path,
		Params:  params,
		Named:   params["vfs"] != "",
		Default: isDefault,
		Exists:  func() bool { return C.ls_exists(cname) != 0 },
	}, env)
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", path, err)
	}
	if local {
		if flags&C.SQLITE_OPEN_CREATE != 0 && C.ls_exists(cname) == 0 {
			logger.Warn("a new local file is made, since the name is not that of a replica", "file", path, "replica", router.Bound())
		} else {
			logger.Debug("opened as a local file", "file", path)
		}
		return nil, true, nil
	}
	closed := func() { router.Close(path) }
	defer func() {
		if err != nil {
			closed()
		}
	}()
	bound := C.CString(router.Bound())
	C.ls_set_bound(bound)
	C.free(unsafe.Pointer(bound))
	if err := logs.Configure(env); err != nil {
		return nil, false, err
	}
	if params, err = env.Params(params); err != nil {
		return nil, false, err
	}
	if url != "" {
		params["replica_url"] = url
	}
	conn, err := vfs.OpenConn(path, params, litestream.OpenMode{
		ReadOnly:    flags&C.SQLITE_OPEN_READONLY != 0,
		Create:      flags&C.SQLITE_OPEN_CREATE != 0,
		SharedCache: flags&C.SQLITE_OPEN_SHAREDCACHE != 0,
	})
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", path, err)
	}
	main := &mainFile{mainfile.New(conn), conn}
	return &handle{file: main, main: main, closed: closed}, false, nil
}

// openCompanion opens a journal.
func openCompanion(path string, flags C.int) (f *handle, local bool, err error) {
	if !router.Companion(path) {
		return nil, true, nil
	}
	switch {
	case flags&C.SQLITE_OPEN_SUPER_JOURNAL != 0:
		return &handle{file: supers.Open(path)}, false, nil
	case flags&C.SQLITE_OPEN_WAL != 0:
		err := fmt.Errorf("open %s: there is no WAL mode", path)
		logger.Error("open failed", "db", path, "error", err)
		return nil, false, err
	}
	// A journal exists as long as it is open, since nothing is to be rolled back
	// after a crash.
	return &handle{file: new(tempfile.File)}, false, nil
}

//export litestreamClose
func litestreamClose(h C.uintptr_t) (rc C.int) {
	defer guard("close", func() { rc = ioError })
	f := fileOf(h)
	cgo.Handle(h).Delete()
	err := f.Close()
	if f.closed != nil {
		f.closed()
	}
	return code(err)
}

//export litestreamRead
func litestreamRead(h C.uintptr_t, p unsafe.Pointer, n C.int, off C.sqlite3_int64) (rc C.int) {
	defer guard("read", func() { rc = ioError })
	b := unsafe.Slice((*byte)(p), n)
	m, err := fileOf(h).ReadAt(b, int64(off))
	clear(b[m:])
	if err == io.EOF {
		return ioErrorShortRead
	}
	return code(err)
}

//export litestreamWrite
func litestreamWrite(h C.uintptr_t, p unsafe.Pointer, n C.int, off C.sqlite3_int64) (rc C.int) {
	defer guard("write", func() { rc = ioError })
	_, err := fileOf(h).WriteAt(unsafe.Slice((*byte)(p), n), int64(off))
	return code(err)
}

//export litestreamTruncate
func litestreamTruncate(h C.uintptr_t, size C.sqlite3_int64) (rc C.int) {
	defer guard("truncate", func() { rc = ioError })
	return code(fileOf(h).Truncate(int64(size)))
}

//export litestreamSync
func litestreamSync(h C.uintptr_t, flags C.int) (rc C.int) {
	defer guard("sync", func() { rc = ioError })
	if main := fileOf(h).main; main != nil {
		return code(main.Sync())
	}
	return 0
}

// litestreamBeforeSync is called before SQLite syncs a file, or would if PRAGMA
// synchronous were not OFF. If several is not 0, it commits several databases.
//
//export litestreamBeforeSync
func litestreamBeforeSync(h C.uintptr_t, several C.int) (rc C.int) {
	defer guard("sync", func() { rc = ioError })
	if main := fileOf(h).main; main != nil {
		return code(main.BeforeSync(several != 0))
	}
	return 0
}

// litestreamCommit is called when SQLite has committed.
//
//export litestreamCommit
func litestreamCommit(h C.uintptr_t) (rc C.int) {
	defer guard("commit", func() { rc = ioError })
	main := fileOf(h).main
	if main == nil {
		return notFound
	}
	return C.int(litestream.CodeOfCommit(main.Commit()))
}

//export litestreamSize
func litestreamSize(h C.uintptr_t, size *C.sqlite3_int64) (rc C.int) {
	defer guard("size", func() { rc = ioError })
	n, err := fileOf(h).FileSize()
	*size = C.sqlite3_int64(n)
	return code(err)
}

//export litestreamLock
func litestreamLock(h C.uintptr_t, level C.int) (rc C.int) {
	defer guard("lock", func() { rc = ioError })
	if main := fileOf(h).main; main != nil {
		return code(main.Lock(mainfile.Level(level)))
	}
	return 0
}

//export litestreamUnlock
func litestreamUnlock(h C.uintptr_t, level C.int) (rc C.int) {
	defer guard("unlock", func() { rc = ioError })
	if main := fileOf(h).main; main != nil {
		return code(main.Unlock(mainfile.Level(level)))
	}
	return 0
}

// litestreamRequest is a PRAGMA, or a function that asks for one.
//
//export litestreamRequest
func litestreamRequest(h C.uintptr_t, r *C.ls_request) (rc C.int) {
	defer guard("pragma", func() { rc, r.error = ioError, C.CString("panic, see the log") })
	main := fileOf(h).main
	if main == nil {
		return notFound
	}
	var value *string
	if r.value != nil {
		s := C.GoString(r.value)
		value = &s
		if parameter, ok := extension.ParameterOf(C.GoString(r.name)); ok {
			if err := environment().Allow(map[string]string{parameter: s}); err != nil {
				r.error = C.CString(err.Error())
				return genericError
			}
		}
	}
	result, err := main.conn.Pragma(C.GoString(r.name), value)
	if litestream.CodeOf(err) == litestream.CodeNotFound {
		return notFound
	}
	if err != nil {
		r.error = C.CString(err.Error())
		return code(err)
	}
	if result != nil {
		r.result = C.CString(*result)
	}
	return 0
}

// litestreamNotOpened is called when the open of a local file has failed.
//
//export litestreamNotOpened
func litestreamNotOpened(name *C.char) {
	defer guard("open", func() {})
	router.NotOpened(C.GoString(name))
}

// litestreamDelete deletes a companion of a replica, and returns 0 for other files.
//
//export litestreamDelete
func litestreamDelete(name *C.char, rc *C.int) (ours C.int) {
	ours = 1
	defer guard("delete", func() { *rc = ioError })
	path := C.GoString(name)
	if !router.Companion(path) {
		return 0
	}
	supers.Delete(path) // journals are deleted when they are closed
	*rc = 0
	return 1
}

// litestreamAccess asks about a companion of a replica, and returns 0 for other files.
//
//export litestreamAccess
func litestreamAccess(name *C.char, out, rc *C.int) (ours C.int) {
	ours = 1
	defer guard("access", func() { *rc = ioError })
	path := C.GoString(name)
	if !router.Companion(path) {
		return 0
	}
	*out, *rc = 0, 0
	if supers.Exists(path) {
		*out = 1
	}
	return 1
}

// Result codes of SQLite.
const (
	genericError     = C.int(litestream.CodeError)
	ioError          = C.int(litestream.CodeIOErr)
	notFound         = C.int(litestream.CodeNotFound)
	ioErrorShortRead = 522
)

// code returns the result code of an error.
func code(err error) C.int { return C.int(litestream.CodeOf(err)) }
