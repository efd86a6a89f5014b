package osvfs

// #include "thread.h"
import "C"

// ThreadID returns a number that the calling thread has, and no other that runs. It
// means something where SQLite calls, on the thread of whoever called SQLite.
func ThreadID() uint64 { return uint64(C.ls_thread()) }
