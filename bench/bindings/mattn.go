//go:build cgo

package main

import (
	"github.com/ltxvfs/litestream"
	_ "github.com/mattn/go-sqlite3"
	"github.com/psanford/sqlite3vfs"
)

// bindings returns those of mattn/go-sqlite3.
func bindings() []binding {
	return []binding{
		{"mattn, plain", nil},
		{"mattn, litestream.RegisterVFS", litestream.RegisterVFS},
		{"mattn, sqlite3vfs.RegisterVFS", func(name string, vfs *litestream.VFS) error { return sqlite3vfs.RegisterVFS(name, vfs) }},
	}
}
