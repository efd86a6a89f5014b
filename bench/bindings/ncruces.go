//go:build !cgo

package main

import (
	"github.com/ltxvfs/litestream/ncruces"
	_ "github.com/ncruces/go-sqlite3/driver"
)

// bindings returns those of ncruces/go-sqlite3.
func bindings() []binding {
	return []binding{{"ncruces, plain", nil}, {"ncruces, ncruces.RegisterVFS", ncruces.RegisterVFS}}
}
