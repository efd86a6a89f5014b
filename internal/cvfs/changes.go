//go:build cgo

package cvfs

/*
#include <stdlib.h>
#include "vfs.h"
*/
import "C"

import (
	"runtime/cgo"

	"github.com/ltxvfs/litestream/internal/changetable"
)

// The C side must know the same columns. An index out of range does not compile.
var (
	_ = [1]struct{}{}[C.LS_FIRST_ARGUMENT-changetable.TableArgument]
	_ = [1]struct{}{}[C.LS_ARGUMENTS-changetable.Arguments]
)

// changes are the rows of a call of litestream_changes, which C has a handle of.
type changes struct {
	Rows
	file *handle
}

func changesOf(h C.uintptr_t) *changes { return cgo.Handle(h).Value().(*changes) }

// litestreamChangesSchema returns the statement that declares the columns, which the
// caller frees.
//
//export litestreamChangesSchema
func litestreamChangesSchema() *C.char { return C.CString(changetable.Schema) }

// litestreamChanges calls litestream_changes for a main database.
//
//export litestreamChanges
func litestreamChanges(h C.uintptr_t, r *C.ls_changes) (rc C.int) {
	f := fileOf(h)
	defer f.guard("changes", func() { rc, r.error = ioError, C.CString("panic, see the log") })
	if f.main == nil {
		return notFound
	}
	var args [changetable.Arguments]*string
	for i, arg := range r.args {
		if arg != nil {
			s := C.GoString(arg)
			args[i] = &s
		}
	}
	rows, err := f.main.conn.Changes(args[0], args[1], args[2])
	if err != nil {
		r.error = C.CString(err.Error())
		return f.code(err)
	}
	r.rows = C.uintptr_t(cgo.NewHandle(&changes{rows, f}))
	return 0
}

// litestreamChangesNext goes on to the next row.
//
//export litestreamChangesNext
func litestreamChangesNext(h C.uintptr_t, atEnd *C.int, text **C.char) (rc C.int) {
	r := changesOf(h)
	defer r.file.guard("changes", func() { rc, *text = ioError, C.CString("panic, see the log") })
	ok, err := r.Next()
	if *atEnd = 1; ok {
		*atEnd = 0
	}
	if err != nil {
		*text = C.CString(err.Error())
	}
	return r.file.code(err)
}

// litestreamChangesColumn sets v to the value of a column of the row.
//
//export litestreamChangesColumn
func litestreamChangesColumn(h C.uintptr_t, column C.int, v *C.ls_value) (rc C.int) {
	r := changesOf(h)
	defer r.file.guard("changes", func() { rc = ioError })
	switch value := r.Value(int(column)).(type) {
	case int64:
		v._type, v.number = C.SQLITE_INTEGER, C.sqlite3_int64(value)
	case string:
		v._type, v.text, v.bytes = C.SQLITE_TEXT, C.CString(value), C.uint64_t(len(value))
	}
	return 0
}

//export litestreamChangesClose
func litestreamChangesClose(h C.uintptr_t) {
	r := changesOf(h)
	defer r.file.guard("changes", func() {})
	cgo.Handle(h).Delete()
	r.Close()
}
