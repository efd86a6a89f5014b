//go:build cgo && linux

package main

import (
	"database/sql"

	"github.com/ltxvfs/litestream"
)

func open(url string, opts *litestream.Options) (*sql.DB, error) { return litestream.Open(url, opts) }
