// Package sqlfunc registers SQL functions that statements can call, but the
// views, triggers and constraints of a schema cannot. mattn/go-sqlite3 cannot
// set the flag that SQLite has for that, SQLITE_DIRECTONLY.
package sqlfunc

/*
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
#include <stdlib.h>
#include "sqlfunc.h"
*/
import "C"

import (
	"fmt"
	"reflect"
	"runtime/cgo"
	"strings"
	"unsafe"

	"github.com/mattn/go-sqlite3"
)

// Func is a function of SQL. Its arguments and its result are text, nil for NULL.
type Func func(args []*string) (*string, error)

// RegisterDirectOnly makes a function of a connection that takes nargs arguments.
func RegisterDirectOnly(conn *sqlite3.SQLiteConn, name string, nargs int, fn Func) error {
	db, err := handleOf(conn)
	if err != nil {
		return err
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	if rc := C.ls_create(db, cname, C.int(nargs), C.uintptr_t(cgo.NewHandle(fn))); rc != 0 {
		return sqlite3.ErrNo(rc)
	}
	return nil
}

// handleOf returns the sqlite3* of a connection, which the driver does not export.
func handleOf(conn *sqlite3.SQLiteConn) (unsafe.Pointer, error) {
	db := reflect.ValueOf(conn).Elem().FieldByName("db")
	if !db.IsValid() || db.Kind() != reflect.Pointer || !strings.HasSuffix(db.Type().String(), "_Ctype_struct_sqlite3") {
		return nil, fmt.Errorf("this version of mattn/go-sqlite3 is not supported: %T has no field db with SQLite's handle", conn)
	}
	if db.IsNil() {
		return nil, fmt.Errorf("the connection is closed: %w", sqlite3.ErrMisuse)
	}
	return db.UnsafePointer(), nil
}

//export litestreamCall
func litestreamCall(h C.uintptr_t, context unsafe.Pointer, nargs C.int, args *unsafe.Pointer) {
	defer func() {
		if r := recover(); r != nil { // a panic must not cross into C
			setText(fmt.Sprintf("panic: %v", r), func(p *C.char, n C.int) { C.ls_error(context, p, n) })
		}
	}()
	texts := make([]*string, nargs)
	for i := range texts {
		var n C.int
		if p := C.ls_text(args, C.int(i), &n); p != nil {
			s := C.GoStringN(p, n)
			texts[i] = &s
		}
	}
	result, err := cgo.Handle(h).Value().(Func)(texts)
	switch {
	case err != nil:
		setText(err.Error(), func(p *C.char, n C.int) { C.ls_error(context, p, n) })
	case result != nil:
		setText(*result, func(p *C.char, n C.int) { C.ls_result(context, p, n) })
	}
}

// setText passes a text to set, which copies it.
func setText(s string, set func(*C.char, C.int)) {
	p := C.CString(s)
	defer C.free(unsafe.Pointer(p))
	set(p, C.int(len(s)))
}

//export litestreamDrop
func litestreamDrop(h C.uintptr_t) { cgo.Handle(h).Delete() }
