package webdav

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

const envPassword = "LITESTREAM_WEBDAV_PASSWORD"

const (
	// firstWait and mostWait are the pauses of a client that waits for another one.
	firstWait = 10 * time.Millisecond
	mostWait  = time.Second
)

// patience is for how long a client waits for another one that does not go on: for a
// name that it has locked, or while its claim stays the same.
var patience = 10 * time.Second

// session is what all calls of a client share.
type session struct {
	server  *url.URL // without a slash at the end
	layout  clientio.Layout
	place   string // folder of the replica, with a slash at its beginning and none at its end
	client  http.RoundTripper
	release func() // nil if the transport is the user's

	user, password string

	mu struct {
		sync.Mutex            // held for no I/O
		challenge  *challenge // how the server wants the credentials; nil: not known
		creation   way        // how files are created; nil: not known
		exclusive  bool       // the server has refused a lock that another one excludes
	}
}

func newSession(c *ReplicaClient) (*session, error) {
	server, err := parseServer(c.URL)
	if err != nil {
		return nil, err
	}
	place := path.Join("/", c.Path)
	s := &session{server: server, layout: clientio.NewLayout(place), place: place, user: c.Username}
	if s.user != "" {
		s.password = cmp.Or(c.Password, os.Getenv(envPassword))
	}
	s.client = c.Transport
	if s.client == nil {
		s.client, s.release = clientio.SharedTransport(nil)
	}
	return s, nil
}

// body is the body of a request, which can be sent again.
type body interface {
	size() int64
	open() io.ReadCloser
}

// send sends a request for a name at the server. Redirects are not followed. Errors
// contain no address.
func (s *session) send(ctx context.Context, method, name string, header http.Header, content body) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		u := *s.server
		u.Path += name
		req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
		if err != nil {
			return nil, clientio.Invalid("address of a file is no url")
		}
		for name, values := range header {
			req.Header[name] = values
		}
		if content != nil {
			req.Body, req.ContentLength = content.open(), content.size()
		}
		before := s.authorize(req)
		resp, err := s.client.RoundTrip(req)
		if err != nil {
			return nil, clientio.WithCause(ctx, clientio.WithoutURL(err))
		}
		if resp.StatusCode == http.StatusUnauthorized && attempt < 3 && s.learn(resp, before) {
			_ = resp.Body.Close() // it is asked again
			continue
		}
		return resp, nil
	}
}

// refusal returns the error of an answer that is no success. It closes the body.
func (s *session) refusal(resp *http.Response) error {
	_ = resp.Body.Close() // the status says what matters
	switch status := resp.StatusCode; {
	case status == http.StatusNotFound, status == http.StatusGone:
		return clientio.ErrAbsent
	case status == http.StatusUnauthorized && s.user == "":
		return fmt.Errorf("http status %d: the server wants a user and a password (%w)", status, fs.ErrPermission)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("http status %d: the server does not accept the user %s and the password (%w)", status, s.user, fs.ErrPermission)
	case status == http.StatusLocked:
		return fmt.Errorf("http status %d: another client holds a lock", status)
	case status == http.StatusInsufficientStorage:
		return fmt.Errorf("http status %d: no space is left at the server", status)
	default:
		return clientio.StatusError(status, http.StatusText(status))
	}
}

// do sends a request whose answer has no body that matters, and returns its status and
// header. A status that is not one of ok is an error.
func (s *session) do(ctx context.Context, method, name string, header http.Header, content body, ok ...int) (int, http.Header, error) {
	return s.doWith(ctx, method, name, header, content, func(io.Reader) {}, ok...)
}

// doWith is do for a request whose answer has a short body, which read gets if the
// status is one of ok.
func (s *session) doWith(ctx context.Context, method, name string, header http.Header, content body, read func(io.Reader), ok ...int) (int, http.Header, error) {
	resp, err := s.send(ctx, method, name, header, content)
	if err != nil {
		return 0, nil, fmt.Errorf("%s: %w", method, err)
	}
	for _, status := range ok {
		if resp.StatusCode == status {
			short := io.LimitReader(resp.Body, clientio.MaxErrorText)
			read(short)
			_, _ = io.Copy(io.Discard, short) // so that the connection can be used again
			_ = resp.Body.Close()             // the rest says nothing
			return status, resp.Header, nil
		}
	}
	return resp.StatusCode, nil, fmt.Errorf("%s: %w", method, s.refusal(resp))
}

// whenFree sends a request again while the server answers that another client has
// locked the name, but not for longer than patience. Some servers lock a name for each
// request that changes it.
func whenFree(ctx context.Context, send func() (status int, err error)) (status int, err error) {
	start := time.Now()
	for wait := firstWait; ; wait = min(2*wait, mostWait) {
		status, err = send()
		if status != http.StatusLocked || time.Since(start) >= patience || !clientio.Pause(ctx, wait) {
			return status, err
		}
	}
}
