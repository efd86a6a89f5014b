package https

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const maxRedirects = 5

// session is what all calls of a client share.
type session struct {
	base    *url.URL // folder of the replica, with a slash at the end
	client  *http.Client
	release func() // nil if the transport is the user's
	header  http.Header
	user    *url.Userinfo // nil: none

	pins     pins
	discover clientio.Flight[lister]
	mu       struct {
		sync.Mutex        // held for no I/O
		lister     lister // how files are listed; nil until the first call
	}
}

func newSession(c *ReplicaClient) (*session, error) {
	base, err := parseBase(c.URL)
	if err != nil {
		return nil, err
	}
	s := &session{base: base, header: c.Header.Clone()}
	if c.Username != "" || c.Password != "" {
		s.user = url.UserPassword(c.Username, c.Password)
	}
	rt := c.Transport
	if rt == nil {
		rt, s.release = clientio.SharedTransport(nil)
	}
	s.client = &http.Client{Transport: rt, CheckRedirect: s.checkRedirect}
	return s, nil
}

// checkRedirect refuses a redirect that would send requests without encryption. A
// redirect to another server does not take along what is meant for this one: net/http
// would send most headers to any host, and the password to other ports of this host.
func (s *session) checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
		return clientio.Permanent(errors.New("redirect from https to http"))
	}
	if !s.isOwn(req.URL) {
		for name := range s.header {
			delete(req.Header, name)
		}
		for _, name := range []string{"Authorization", "Referer"} {
			req.Header.Del(name)
		}
	}
	return nil
}

// isOwn reports whether an address is at the server of the replica, or where that
// server has the same with encryption.
func (s *session) isOwn(u *url.URL) bool {
	if !strings.EqualFold(u.Hostname(), s.base.Hostname()) {
		return false
	}
	isUpgrade := s.base.Scheme == "http" && u.Scheme == "https" && port(s.base) == "80" && port(u) == "443"
	return isUpgrade || u.Scheme == s.base.Scheme && port(u) == port(s.base)
}

// port returns the port of an address.
func port(u *url.URL) string {
	ports := map[string]string{"http": "80", "https": "443"}
	return cmp.Or(u.Port(), ports[u.Scheme])
}

// url returns the address of a name below the folder of the replica.
func (s *session) url(name string) *url.URL {
	u := *s.base
	u.Path += name
	return &u
}

// send sends a request. Its errors contain no address.
func (s *session) send(ctx context.Context, method string, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, clientio.Invalid("address of a file is no url")
	}
	for name, values := range s.header {
		req.Header[name] = values
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if s.user != nil {
		password, _ := s.user.Password()
		req.SetBasicAuth(s.user.Username(), password)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, clientio.WithCause(ctx, clientio.WithoutURL(err))
	}
	return resp, nil
}

// refusal returns the error of an answer that is no success. It closes the body.
func refusal(resp *http.Response) error {
	_ = resp.Body.Close() // the status says what matters
	switch status := resp.StatusCode; {
	case status == http.StatusNotFound, status == http.StatusGone:
		return clientio.ErrAbsent
	case status == http.StatusUnauthorized:
		return fmt.Errorf("http status %d: the server wants a user and a password, or refuses those of the url (%w)", status, fs.ErrPermission)
	default:
		return clientio.StatusError(status, http.StatusText(status))
	}
}

// document is the answer to a request for a listing.
type document struct {
	header http.Header
	url    *url.URL // after redirects
	body   []byte
}

// isSettled reports whether a document that was read cannot have changed in the same
// second in which it was read. Web servers know no fractions of seconds, and some make
// entity tags of the time.
func isSettled(h http.Header) bool {
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return h.Get("ETag") != ""
	}
	date, err := http.ParseTime(h.Get("Date"))
	return err == nil && date.Sub(modified) >= 2*time.Second
}

// get reads a document of at most clientio.MaxListing bytes. If it has not changed since the
// answer with the header before, get returns nil.
func (s *session) get(ctx context.Context, u *url.URL, before http.Header) (*document, error) {
	header := http.Header{}
	if tag, modified := before.Get("ETag"), before.Get("Last-Modified"); !isSettled(before) {
		// The document may have changed without a trace.
	} else if tag != "" {
		header.Set("If-None-Match", tag)
	} else if modified != "" {
		header.Set("If-Modified-Since", modified)
	}
	resp, err := s.send(ctx, http.MethodGet, u, header)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusNotModified && len(header) > 0:
		_ = resp.Body.Close() // it is empty
		return nil, nil
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(resp)
	case resp.Header.Get("Content-Encoding") != "":
		return nil, clientio.RefuseBody(resp, "answer is encoded, which was not asked for")
	}
	body, err := clientio.ReadListing(ctx, resp)
	if err != nil {
		return nil, err
	}
	return &document{header: resp.Header, url: resp.Request.URL, body: body}, nil
}
