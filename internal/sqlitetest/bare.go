//go:build cgo

package sqlitetest

/*
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
#include <stdlib.h>
#include <string.h>
#include "../cvfs/sqlite3.h"

// openBare opens a main database and asks for its size. The name has no parameters, and what follows
// it in memory looks like one.
static int openBare(const char *vfs, const char *path) {
	static const char after[] = "replica_url\0nowhere://\0\0";
	const int flags = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	sqlite3_vfs *v = sqlite3_vfs_find(vfs);
	sqlite3_file *file = v ? calloc(1, v->szOsFile) : 0;
	const size_t before = 4, n = strlen(path) + 1; // SQLite's names come after four zeros
	char *name = file ? calloc(1, before + n + sizeof after) : 0;
	sqlite3_int64 size;
	int rc = SQLITE_NOMEM, out = 0;
	if (name) {
		memcpy(name + before, path, n);
		memcpy(name + before + n, after, sizeof after);
		rc = v->xOpen(v, name + before, file, flags, &out);
	}
	if (rc == SQLITE_OK) {
		rc = file->pMethods->xFileSize(file, &size);
		file->pMethods->xClose(file);
	}
	free(name);
	free(file);
	return rc;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// OpenBare opens and closes the main file of a database as a VFS above the VFS does that
// makes names itself: SQLITE_OPEN_URI is not set, so no parameters follow the name.
func OpenBare(vfs, name string) error {
	v, n := C.CString(vfs), C.CString(name)
	defer C.free(unsafe.Pointer(v))
	defer C.free(unsafe.Pointer(n))
	if rc := C.openBare(v, n); rc != 0 {
		return fmt.Errorf("open %s: result code %d", name, int(rc))
	}
	return nil
}
