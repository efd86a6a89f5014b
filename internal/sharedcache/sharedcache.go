// Package sharedcache turns SQLite's shared cache on and off, for tests.
package sharedcache

/*
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
extern int sqlite3_enable_shared_cache(int on);
*/
import "C"

import "github.com/mattn/go-sqlite3" // provides the SQLite that the package configures

// Enable sets whether connections that are opened from now on share their caches.
func Enable(on bool) error {
	var value C.int
	if on {
		value = 1
	}
	if rc := C.sqlite3_enable_shared_cache(value); rc != 0 {
		return sqlite3.ErrNo(rc)
	}
	return nil
}
