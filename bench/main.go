package main

import (
	_ "github.com/benbjohnson/litestream"
	_ "github.com/benbjohnson/litestream/file"
	_ "github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/file"
	_ "github.com/ltxvfs/litestream/decorate"
	_ "github.com/ltxvfs/litestream/internal/ltxtest"
	_ "github.com/mattn/go-sqlite3"
	_ "github.com/psanford/sqlite3vfs"
	_ "github.com/superfly/ltx"
)

func main() {}
