//go:build SQLITE3VFS_LOADABLE_EXT

package main

/*
#include <stdlib.h>
#include "vfs.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"runtime/cgo"
	"unsafe"

	"github.com/ltxvfs/litestream/internal/extension"
	"github.com/psanford/sqlite3vfs"
)

// handle is an open file, of which SQLite has a number.
type handle struct {
	sqlite3vfs.File
	closed func() // nil for files other than databases
}

// failedFile is a file of the library's that could not be opened.
type failedFile interface{ OpenError() error }

// requester is a file of the library's that has PRAGMAs.
type requester interface {
	Pragma(name string, value *string) (*string, error)
}

func fileOf(h C.uintptr_t) *handle { return cgo.Handle(h).Value().(*handle) }

// litestreamOpen opens a database, or a companion of one. For LS_OPENED it sets h and got, the
// flags, for LS_FAILED err, by malloc.
//
//export litestreamOpen
func litestreamOpen(name *C.char, flags, isDefault C.int, got *C.int, h *C.uintptr_t, err **C.char) (result C.int) {
	defer guard("open", func() { result, *err = C.LS_FAILED, C.CString("panic, see the log") })
	f, out, local, oerr := open(name, sqlite3vfs.OpenFlag(flags), isDefault != 0)
	switch {
	case oerr != nil:
		*err = C.CString("litestream: " + oerr.Error())
		return C.LS_FAILED
	case local:
		return C.LS_LOCAL
	}
	*h, *got = C.uintptr_t(cgo.NewHandle(f)), C.int(out)
	return C.LS_OPENED
}

func open(cname *C.char, flags sqlite3vfs.OpenFlag, isDefault bool) (f *handle, out sqlite3vfs.OpenFlag, local bool, err error) {
	path := C.GoString(cname)
	if flags&sqlite3vfs.OpenMainDB == 0 {
		return openCompanion(cname, path, flags)
	}
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
		logger.Error("open failed", "db", path, "error", err)
		return nil, 0, false, fmt.Errorf("open %s: %w", path, err)
	}
	if local {
		logger.Debug("opened as a local file", "file", path)
		return nil, 0, true, nil
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
		return nil, 0, false, err
	}
	if params, err = env.Params(params); err != nil {
		return nil, 0, false, err
	}
	if url != "" {
		params["replica_url"] = url
	}
	file, out, err := vfs.OpenURI(path, params, flags)
	if failed, ok := file.(failedFile); ok && err == nil {
		err = failed.OpenError()
	}
	if err != nil {
		return nil, 0, false, fmt.Errorf("open %s: %w", path, err)
	}
	return &handle{file, closed}, out, false, nil
}

// openCompanion opens a journal.
func openCompanion(cname *C.char, path string, flags sqlite3vfs.OpenFlag) (f *handle, out sqlite3vfs.OpenFlag, local bool, err error) {
	url, ours := router.Companion(path)
	if !ours {
		return nil, 0, true, nil
	}
	var params map[string]string
	if flags&sqlite3vfs.OpenSuperJournal == 0 { // whose name SQLite makes up
		params = uriParams(cname)
		if url != "" && params["replica_url"] == "" {
			params["replica_url"] = url
		}
	}
	file, out, err := vfs.OpenURI(path, params, flags)
	if failed, ok := file.(failedFile); ok && err == nil {
		err = failed.OpenError()
	}
	if err != nil {
		return nil, 0, false, err
	}
	return &handle{File: file}, out, false, nil
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
	return code(fileOf(h).Sync(sqlite3vfs.SyncType(flags)))
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
	return code(fileOf(h).Lock(sqlite3vfs.LockType(level)))
}

//export litestreamUnlock
func litestreamUnlock(h C.uintptr_t, level C.int) (rc C.int) {
	defer guard("unlock", func() { rc = ioError })
	return code(fileOf(h).Unlock(sqlite3vfs.LockType(level)))
}

//export litestreamCheckReserved
func litestreamCheckReserved(h C.uintptr_t, out *C.int) (rc C.int) {
	defer guard("check reserved lock", func() { rc = ioError })
	is, err := fileOf(h).CheckReservedLock()
	if is {
		*out = 1
	}
	return code(err)
}

//export litestreamSectorSize
func litestreamSectorSize(h C.uintptr_t) (n C.int) {
	defer guard("sector size", func() { n = 4096 })
	return C.int(fileOf(h).SectorSize())
}

//export litestreamCharacteristics
func litestreamCharacteristics(h C.uintptr_t) (bits C.int) {
	defer guard("device characteristics", func() { bits = 0 })
	return C.int(fileOf(h).DeviceCharacteristics())
}

// litestreamRequest is a PRAGMA, or a function that asks for one.
//
//export litestreamRequest
func litestreamRequest(h C.uintptr_t, r *C.ls_request) (rc C.int) {
	defer guard("pragma", func() { rc, r.error = ioError, C.CString("panic, see the log") })
	f, ok := fileOf(h).File.(requester)
	if !ok {
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
	result, err := f.Pragma(C.GoString(r.name), value)
	if err == sqlite3vfs.NotFoundError {
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

// litestreamNotOpened says that the open of a local file has failed.
//
//export litestreamNotOpened
func litestreamNotOpened(name *C.char) {
	defer guard("open", func() {})
	router.NotOpened(C.GoString(name))
}

// litestreamDelete deletes a companion of a replica, and returns 0 for other files.
//
//export litestreamDelete
func litestreamDelete(name *C.char, sync C.int, rc *C.int) (ours C.int) {
	ours = 1
	defer guard("delete", func() { *rc = ioError })
	path := C.GoString(name)
	if _, is := router.Companion(path); !is {
		return 0
	}
	*rc = code(vfs.Delete(path, sync != 0))
	return 1
}

// litestreamAccess asks about a companion of a replica, and returns 0 for other files.
//
//export litestreamAccess
func litestreamAccess(name *C.char, flags C.int, out, rc *C.int) (ours C.int) {
	ours = 1
	defer guard("access", func() { *rc = ioError })
	path := C.GoString(name)
	if _, is := router.Companion(path); !is {
		return 0
	}
	there, err := vfs.Access(path, sqlite3vfs.AccessFlag(flags))
	*out = 0
	if there {
		*out = 1
	}
	*rc = code(err)
	return 1
}

// Result codes of SQLite.
const (
	genericError     = 1
	ioError          = 10
	notFound         = 12
	ioErrorShortRead = 522
)

// codes are the errors that a file of the library's gives SQLite, which keep
// their codes to themselves.
var codes = []struct {
	err  error
	code C.int
}{
	{sqlite3vfs.GenericError, genericError},
	{sqlite3vfs.PermError, 3},
	{sqlite3vfs.BusyError, 5},
	{sqlite3vfs.LockedError, 6},
	{sqlite3vfs.NoMemError, 7},
	{sqlite3vfs.ReadOnlyError, 8},
	{sqlite3vfs.InterruptError, 9},
	{sqlite3vfs.IOError, ioError},
	{sqlite3vfs.CorruptError, 11},
	{sqlite3vfs.NotFoundError, notFound},
	{sqlite3vfs.FullError, 13},
	{sqlite3vfs.CantOpenError, 14},
	{sqlite3vfs.IOErrorRead, 266},
	{sqlite3vfs.IOErrorWrite, 778},
}

// code returns the result code of an error; that of an I/O error, unless it has one.
func code(err error) C.int {
	if err == nil {
		return 0
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return ioError
}
