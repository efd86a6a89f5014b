package dashboard

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// guard is a handler that answers only those who may see the page.
type guard struct {
	opts  Options
	token [sha256.Size]byte // hash of the token
	next  http.Handler

	// isPage tells the requests to which a link on another site may lead. Nil: none.
	isPage func(*http.Request) bool
}

// Guard returns a handler that passes on the requests that the page with these options
// answers: GET and HEAD, under a name that it may be reached under, with its token, and
// not for another site, as far as the browser tells.
func Guard(opts Options, next http.Handler) http.Handler { return newGuard(opts, next) }

func newGuard(opts Options, next http.Handler) *guard {
	return &guard{opts: opts, token: sha256.Sum256([]byte(opts.Token)), next: next}
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the page only answers GET and HEAD", http.StatusMethodNotAllowed)
	case !g.isHost(r.Host):
		http.Error(w, "this name is not one under which the page may be reached: use the address, set a token, or add the name to the hosts of the page", http.StatusForbidden)
	case isForOtherSite(r) && (g.isPage == nil || !g.isPage(r)):
		http.Error(w, "another site asks for this", http.StatusForbidden)
	case !g.isPermitted(r):
		h.Set("WWW-Authenticate", `Basic realm="litestream: the password is the token", charset="UTF-8"`)
		http.Error(w, "a token is needed: give it as the password, with any user name, or as a bearer token", http.StatusUnauthorized)
	default:
		g.next.ServeHTTP(w, r)
	}
}

// isHost reports whether the page may be reached under the name of a request. With a
// token a browser shows nothing to another site, because it sends the token only to
// the name for which it was given.
func (g *guard) isHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	isName := func(h string) bool { return h == "*" || strings.ToLower(h) == name }
	return g.opts.Token != "" || name == "localhost" || net.ParseIP(name) != nil || slices.ContainsFunc(g.opts.Hosts, isName)
}

// isForOtherSite reports whether a browser sends a request because another site makes it
// do so. Such a site sees no answer, but could cause requests to storage. Browsers say
// in Sec-Fetch-Site where a request comes from, but only to https and to this host. To
// others they may say it in Origin or Referer, which the other site can prevent.
func isForOtherSite(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	from := cmp.Or(r.Header.Get("Origin"), r.Header.Get("Referer"))
	if from == "" {
		return false // not a browser, or it does not tell
	}
	u, err := url.Parse(from)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}

// isPermitted reports whether a request has the token. Hashes are compared, so that
// the time this takes tells neither the token nor its length.
func (g *guard) isPermitted(r *http.Request) bool {
	if g.opts.Token == "" {
		return true
	}
	_, given, ok := r.BasicAuth()
	if !ok {
		given, _ = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
}
