//go:build cgo

package cvfs

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
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/ltxvfs/litestream/internal/mainfile"
	"github.com/ltxvfs/litestream/internal/openfiles"
	"github.com/ltxvfs/litestream/internal/sqllists"
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
	conn Conn

	// db is the sqlite3 of the connection, nil until SQLite has told it. Goroutines
	// that watch for interrupts read it.
	db unsafe.Pointer
}

// isInterrupted reports whether SQLite has interrupted the connection's statement.
// Conn calls it only while SQLite waits for a call, so the connection exists.
func (f *mainFile) isInterrupted() bool {
	db := atomic.LoadPointer(&f.db)
	return db != nil && C.ls_is_interrupted(db) != 0
}

// running returns the texts of the statements that the connection runs, with the
// values of their parameters where they may have lists or a LIMIT. Conn calls it only
// within a read, which SQLite makes with the connection's mutex held.
func (f *mainFile) running() string {
	db := atomic.LoadPointer(&f.db)
	if db == nil {
		return ""
	}
	var all []string
	for stmt := C.ls_next_running(db, nil); stmt != nil; stmt = C.ls_next_running(db, stmt) {
		sql := C.GoString(C.ls_sql(stmt))
		if sqllists.MayHave(sql) {
			text := C.ls_expanded(db, stmt, sqllists.MaxText)
			sql = C.GoString(text)
			C.ls_free_expanded(text)
		}
		all = append(all, sql)
	}
	return strings.Join(all, "; ")
}

func (f *mainFile) FileSize() (int64, error) { return f.conn.FileSize() }

// handle is an open file. SQLite has a number for it.
type handle struct {
	file
	vfs  *VFS
	main *mainFile // nil for files other than databases
}

func fileOf(h C.uintptr_t) *handle { return cgo.Handle(h).Value().(*handle) }

func (h *handle) guard(op string, failed func()) { h.vfs.guard(op, failed) }

// code returns the result code of an error.
func (h *handle) code(err error) C.int { return C.int(h.vfs.engine.CodeOf(err)) }

// litestreamOpen opens a database, or a companion of one. If it returns LS_OPENED,
// it has set h to the handle and got to the flags. If it returns LS_FAILED, it has
// set err to a text that the caller frees.
//
//export litestreamOpen
func litestreamOpen(vfs C.uintptr_t, name, given *C.char, flags, shared, isDefault C.int, got *C.int, h *C.uintptr_t, err **C.char) (result C.int) {
	v := vfsOf(vfs)
	defer v.guard("open", func() { result, *err = C.LS_FAILED, C.CString("panic, see the log") })
	var f *handle
	var oerr error
	if flags&C.SQLITE_OPEN_MAIN_DB == 0 {
		f, oerr = v.openCompanion(C.GoString(name), flags)
	} else {
		f, oerr = v.openMain(Name{
			Path:        C.GoString(name),
			Given:       C.GoString(given),
			Params:      uriParams(name, flags),
			Default:     isDefault != 0,
			ReadOnly:    flags&C.SQLITE_OPEN_READONLY != 0,
			Create:      flags&C.SQLITE_OPEN_CREATE != 0,
			SharedCache: shared != 0 || flags&C.SQLITE_OPEN_SHAREDCACHE != 0,
		})
	}
	switch {
	case errors.Is(oerr, ErrLocalFile):
		return C.LS_LOCAL
	case oerr != nil:
		*err = C.CString("litestream: " + oerr.Error())
		return C.LS_FAILED
	}
	*h, *got = C.uintptr_t(cgo.NewHandle(f)), flags
	if f.main != nil && f.main.conn.IsReadOnly() {
		*got = flags&^(C.SQLITE_OPEN_READWRITE|C.SQLITE_OPEN_CREATE) | C.SQLITE_OPEN_READONLY
	}
	return C.LS_OPENED
}

func (v *VFS) openMain(n Name) (*handle, error) {
	conn, err := v.engine.Open(n)
	if err != nil {
		return nil, err
	}
	main := &mainFile{File: mainfile.New(conn), conn: conn}
	if C.ls_has_interrupts() != 0 {
		conn.SetInterrupted(main.isInterrupted)
	}
	if !n.SharedCache { // another connection may read then, which does not hold the mutex
		conn.SetStatement(main.running)
	}
	return &handle{file: main, vfs: v, main: main}, nil
}

// openCompanion opens a journal.
func (v *VFS) openCompanion(path string, flags C.int) (*handle, error) {
	if !v.engine.IsCompanion(path) {
		return nil, ErrLocalFile
	}
	switch {
	case flags&C.SQLITE_OPEN_SUPER_JOURNAL != 0:
		return &handle{file: v.supers.Open(path), vfs: v}, nil
	case flags&C.SQLITE_OPEN_WAL != 0:
		shown := openfiles.Shown(path)
		err := fmt.Errorf("open %s: there is no WAL mode", shown)
		v.engine.Log().Error("open failed", "db", shown, "error", err)
		return nil, err
	}
	// A journal exists as long as it is open, since nothing is to be rolled back
	// after a crash.
	return &handle{file: new(tempfile.File), vfs: v}, nil
}

//export litestreamClose
func litestreamClose(h C.uintptr_t) (rc C.int) {
	f := fileOf(h)
	defer f.guard("close", func() { rc = ioError })
	cgo.Handle(h).Delete()
	return f.code(f.Close())
}

//export litestreamRead
func litestreamRead(h C.uintptr_t, p unsafe.Pointer, n C.int, off C.sqlite3_int64) (rc C.int) {
	f := fileOf(h)
	defer f.guard("read", func() { rc = ioError })
	b := unsafe.Slice((*byte)(p), n)
	m, err := f.ReadAt(b, int64(off))
	clear(b[m:])
	if err == io.EOF {
		return ioErrorShortRead
	}
	return f.code(err)
}

//export litestreamWrite
func litestreamWrite(h C.uintptr_t, p unsafe.Pointer, n C.int, off C.sqlite3_int64) (rc C.int) {
	f := fileOf(h)
	defer f.guard("write", func() { rc = ioError })
	_, err := f.WriteAt(unsafe.Slice((*byte)(p), n), int64(off))
	return f.code(err)
}

//export litestreamTruncate
func litestreamTruncate(h C.uintptr_t, size C.sqlite3_int64) (rc C.int) {
	f := fileOf(h)
	defer f.guard("truncate", func() { rc = ioError })
	return f.code(f.Truncate(int64(size)))
}

//export litestreamSync
func litestreamSync(h C.uintptr_t, flags C.int) (rc C.int) {
	f := fileOf(h)
	defer f.guard("sync", func() { rc = ioError })
	if main := f.main; main != nil {
		return f.code(main.Sync())
	}
	return 0
}

// litestreamBeforeSync is called before SQLite syncs a file, or would if PRAGMA
// synchronous were not OFF. If several is not 0, it commits several databases.
//
//export litestreamBeforeSync
func litestreamBeforeSync(h C.uintptr_t, several C.int) (rc C.int) {
	f := fileOf(h)
	defer f.guard("sync", func() { rc = ioError })
	if main := f.main; main != nil {
		return f.code(main.BeforeSync(several != 0))
	}
	return 0
}

// litestreamCommit is called when SQLite has committed.
//
//export litestreamCommit
func litestreamCommit(h C.uintptr_t) (rc C.int) {
	f := fileOf(h)
	defer f.guard("commit", func() { rc = ioError })
	main := f.main
	if main == nil {
		return notFound
	}
	return C.int(f.vfs.engine.CodeOfCommit(main.Commit()))
}

//export litestreamSize
func litestreamSize(h C.uintptr_t, size *C.sqlite3_int64) (rc C.int) {
	f := fileOf(h)
	defer f.guard("size", func() { rc = ioError })
	n, err := f.FileSize()
	*size = C.sqlite3_int64(n)
	return f.code(err)
}

//export litestreamLock
func litestreamLock(h C.uintptr_t, level C.int) (rc C.int) {
	f := fileOf(h)
	defer f.guard("lock", func() { rc = ioError })
	if main := f.main; main != nil {
		return f.code(main.Lock(mainfile.Level(level)))
	}
	return 0
}

//export litestreamUnlock
func litestreamUnlock(h C.uintptr_t, level C.int) (rc C.int) {
	f := fileOf(h)
	defer f.guard("unlock", func() { rc = ioError })
	if main := f.main; main != nil {
		return f.code(main.Unlock(mainfile.Level(level)))
	}
	return 0
}

// litestreamConnection is called with the sqlite3 of the connection that opens a
// file.
//
//export litestreamConnection
func litestreamConnection(h C.uintptr_t, db unsafe.Pointer) {
	f := fileOf(h)
	defer f.guard("connect", func() {})
	if f.main != nil {
		atomic.StorePointer(&f.main.db, db)
	}
}

// litestreamRequest is a PRAGMA, or a function that asks for one.
//
//export litestreamRequest
func litestreamRequest(h C.uintptr_t, r *C.ls_request) (rc C.int) {
	f := fileOf(h)
	defer f.guard("pragma", func() { rc, r.error = ioError, C.CString("panic, see the log") })
	main := f.main
	if main == nil {
		return notFound
	}
	var value *string
	if r.value != nil {
		s := C.GoString(r.value)
		value = &s
	}
	result, err := main.conn.Pragma(C.GoString(r.name), value)
	if err != nil {
		code := f.code(err)
		if code != notFound {
			r.error = C.CString(err.Error())
		}
		return code
	}
	if result != nil {
		r.result = C.CString(*result)
	}
	return 0
}

// litestreamNotOpened is called when the open of a local file has failed.
//
//export litestreamNotOpened
func litestreamNotOpened(vfs C.uintptr_t, name *C.char) {
	v := vfsOf(vfs)
	defer v.guard("open", func() {})
	v.engine.NotOpened(C.GoString(name))
}

// litestreamDelete deletes a companion of a replica, and returns 0 for other files.
//
//export litestreamDelete
func litestreamDelete(vfs C.uintptr_t, name *C.char, rc *C.int) (ours C.int) {
	v := vfsOf(vfs)
	ours = 1
	defer v.guard("delete", func() { *rc = ioError })
	path := C.GoString(name)
	if !v.engine.IsCompanion(path) {
		return 0
	}
	v.supers.Delete(path) // journals are deleted when they are closed
	*rc = 0
	return 1
}

// litestreamAccess asks about a companion of a replica, and returns 0 for other files.
//
//export litestreamAccess
func litestreamAccess(vfs C.uintptr_t, name *C.char, out, rc *C.int) (ours C.int) {
	v := vfsOf(vfs)
	ours = 1
	defer v.guard("access", func() { *rc = ioError })
	path := C.GoString(name)
	exists := isSuperJournal(path)
	if !exists && !v.engine.IsCompanion(path) {
		return 0
	}
	*out, *rc = 0, 0
	if exists || v.supers.Exists(path) {
		*out = 1
	}
	return 1
}

// Result codes of SQLite.
const (
	ioError          = 10
	notFound         = 12
	ioErrorShortRead = 522
)
