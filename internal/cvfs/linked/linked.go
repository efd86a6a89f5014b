//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

// Package linked has the table of functions of the SQLite library that a program is
// linked with, as that library passes it to extensions.
package linked

/*
#cgo CFLAGS: -fvisibility=hidden
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
#include "linked.h"
*/
import "C"

import "unsafe"

// Routines returns the sqlite3_api_routines of the library, with the functions that
// package cvfs calls and no others.
func Routines() unsafe.Pointer { return unsafe.Pointer(C.ls_linked()) }
