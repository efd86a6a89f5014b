package metrics

import (
	"net/http"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/dashboard"
)

// PageOptions are the options of Page. The zero value is for a page that only this
// host and its users reach.
type PageOptions = dashboard.Options

// Unopened is a database that should be open and is not, for a page or a health check to
// show.
type Unopened = dashboard.Unopened

// Page returns a handler with a page that shows how the open databases of VFSes are
// doing. It answers at every path, so a program mounts it where it likes. Only GET and
// HEAD are allowed: the page changes nothing.
//
//	http.Handle("/databases", metrics.Page(metrics.PageOptions{Token: token}, vfs))
//
// While the page is visible in a browser, it asks for news every few seconds; that is
// when counters are gathered, and it makes no request to storage. Requests are made
// when somebody opens the view of one database, which lists its files at most once in
// half a minute, and when somebody asks for the changes of a transaction. Nothing runs
// while nobody looks.
//
// Whoever sees the page sees the names of databases, tables and buckets, and texts of
// errors, but no rows and no secrets. The handler is safe for concurrent use.
func Page(opts PageOptions, vfs ...*litestream.VFS) http.Handler { return dashboard.New(opts, vfs...) }

// Guard returns a handler that passes on the requests that a page with these options
// would answer, and refuses others as the page does: for Health and what a Collector
// has collected, where they are served beside a page with a token.
func Guard(opts PageOptions, next http.Handler) http.Handler { return dashboard.Guard(opts, next) }
