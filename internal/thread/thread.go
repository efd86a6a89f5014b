// Package thread identifies the threads on which SQLite calls a VFS.
package thread

// #include "thread.h"
import "C"

// ID returns a number that no other running thread has. A callback of SQLite
// runs on the thread of the goroutine that called SQLite.
func ID() uint64 { return uint64(C.ls_thread()) }
