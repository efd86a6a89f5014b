// Package dashboard is the web page that shows how databases are doing. Package metrics
// has it under its public name.
package dashboard

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream"
)

// Options are the options of the page. The zero value is for a page that only this
// host and its users reach.
type Options struct {
	// Token is what a browser has to give as the password, with any user name, and
	// other programs as the bearer token. Empty: none is needed.
	Token string

	// Hosts are names under which browsers reach the page, without a port, besides
	// localhost and IP addresses. A page without a Token refuses other names, since a
	// web site can make its own name lead to an address of the local network, and read
	// what is there. "*" is every name.
	Hosts []string

	// KeepFresh makes the databases follow their replicas while somebody looks at the
	// page, as if a connection used them. By default the page shows what is known, and
	// a database that no connection uses sleeps.
	KeepFresh bool

	// Unopened returns the databases that should be open and are not, for the page to
	// show. It is called for each request. Nil: none.
	Unopened func() []Unopened
}

// Unopened is a database that could not be opened.
type Unopened struct {
	Name string // for people; without secrets
	Err  error
}

// The page is one file: its styles and its program are within it, and the policy of
// the answer permits no other ones.
var (
	//go:embed page/page.html
	pageHTML string

	//go:embed page/page.css
	pageCSS string

	//go:embed page/page.js
	pageJS string

	pageBody   = strings.NewReplacer("/* page.css */", pageCSS, "/* page.js */", pageJS).Replace(pageHTML)
	pagePolicy = "default-src 'none'; style-src '" + hashOf(pageCSS) + "'; script-src '" + hashOf(pageJS) + "'; connect-src 'self'; img-src data:; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

// hashOf returns the hash of an element's text as a content security policy names it.
func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// New returns the handler of the page. Metrics.Page says what it does.
func New(opts Options, vfs ...*litestream.VFS) http.Handler {
	g := newGuard(opts, &page{opts: opts, vfs: slices.Clone(vfs), work: make(chan struct{}, maxWork)})
	g.isPage = func(r *http.Request) bool { return r.URL.Query().Get("view") == "" }
	return g
}

// maxWork is how many requests of pages may use storage at a time.
const maxWork = 4

// page is the handler.
type page struct {
	opts Options
	vfs  []*litestream.VFS
	work chan struct{} // holds one for each request that uses storage

	reads readHistory
	maps  recent[mapData]
	files recent[filesData]
	diffs recent[changesData]
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	query := r.URL.Query()
	view := query.Get("view")
	if view == "" {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", pagePolicy)
		_, _ = w.Write([]byte(pageBody))
		return
	}
	var answer any
	switch view {
	case "data":
		answer = p.data(r.Context(), query.Get("db"))
	case "files":
		answer = p.filesOf(r.Context(), query.Get("db"))
	case "changes":
		answer = p.changesOf(r.Context(), query.Get("db"), query.Get("from"), query.Get("to"))
	default:
		http.Error(w, "there is no such view", http.StatusNotFound)
		return
	}
	body, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Content-Type", "application/json")
	_, _ = w.Write(body) // an error is that of the connection
}
