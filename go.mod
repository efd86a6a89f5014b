module github.com/ltxvfs/litestream

go 1.26.0

require (
	github.com/hashicorp/golang-lru/v2 v2.0.7
	github.com/mattn/go-sqlite3 v1.14.52
	github.com/pierrec/lz4/v4 v4.1.33
	github.com/psanford/sqlite3vfs v0.0.0-20260519004904-f9180fa2acc9
	github.com/superfly/ltx v0.5.3
	go.uber.org/goleak v1.3.0
	golang.org/x/sync v0.24.0
)

require github.com/stretchr/testify v1.12.1 // indirect
