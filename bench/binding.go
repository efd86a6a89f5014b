package main

import (
	"errors"
	"fmt"

	"github.com/ltxvfs/litestream"
)

// binding makes a VFS of ours known to SQLite and returns the name that it has there.
// A binding that can record which pages SQLite reads does so in rec, unless that is
// nil.
type binding func(v *litestream.VFS, rec *recorder) (name string, err error)

// bindings are by the names that the flag -binding knows.
var bindings = map[string]binding{"litestream": ownBinding, "psanford": psanfordBinding}

// ownBinding is litestream.RegisterVFS, which programs should use. A name is free
// again once its VFS was closed, so that some names are enough for all runs.
func ownBinding(v *litestream.VFS, rec *recorder) (name string, err error) {
	if rec != nil {
		return psanfordBinding(v, rec) // a VFS in C cannot be wrapped in Go
	}
	var all error
	for i := range 8 {
		name = fmt.Sprintf("bench-own-%d", i)
		if err = litestream.RegisterVFS(name, v); err == nil {
			return name, nil
		}
		all = errors.Join(all, err)
	}
	return "", all
}

// psanfordBinding is sqlite3vfs.RegisterVFS, the only one that upstream has.
func psanfordBinding(v *litestream.VFS, rec *recorder) (name string, err error) {
	oursSlot.set(v, rec)
	return oursSlot.name, nil
}
