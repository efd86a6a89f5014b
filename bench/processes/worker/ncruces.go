//go:build !cgo && linux

package main

import (
	"database/sql"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/ncruces"
)

func open(url string, opts *litestream.Options) (*sql.DB, error) { return ncruces.Open(url, opts) }
