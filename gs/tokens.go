package gs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/compute/metadata"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// tokenTimeout limits the request for one token.
const tokenTimeout = 30 * time.Second

// tokenSource gets access tokens from one source of credentials. The library
// has such caches, too, but a caller that waits for one cannot stop waiting.
type tokenSource struct {
	source string // for errors, like "credentials from GOOGLE_APPLICATION_CREDENTIALS"
	load   func() (*auth.Credentials, error)
	fetch  clientio.Flight[*grant]

	mu struct {
		sync.Mutex                   // held for no I/O
		creds      *auth.Credentials // nil if they must be loaded again, because they may have been renewed
		current    *grant            // nil or possibly expired
	}
}

// grant is an access token, with the project that is charged.
type grant struct {
	token        *auth.Token
	quotaProject string // the project that is charged; usually empty
}

// newTokenSource returns a source whose credentials are loaded.
func newTokenSource(source string, load func() (*auth.Credentials, error)) (*tokenSource, error) {
	creds, err := load()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	s := &tokenSource{source: source, load: load}
	s.mu.creds = creds
	return s, nil
}

// grant returns a grant that is valid. An error is a tokenError, or the error
// of ctx.
func (s *tokenSource) grant(ctx context.Context) (*grant, error) {
	s.mu.Lock()
	g := s.mu.current
	s.mu.Unlock()
	if g != nil && g.token.IsValid() {
		return g, nil
	}
	return s.fetch.Do(ctx, func(ctx context.Context) (*grant, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokenTimeout)
		defer cancel()
		return s.refresh(ctx)
	})
}

// reject makes the source replace g, because the service has refused a request
// with it.
func (s *tokenSource) reject(g *grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.current == g {
		s.mu.current, s.mu.creds = nil, nil
	}
}

// refresh gets a grant. The credentials may still have a valid one.
func (s *tokenSource) refresh(ctx context.Context) (*grant, error) {
	s.mu.Lock()
	creds, current := s.mu.creds, s.mu.current
	s.mu.Unlock()
	g, creds, err := s.get(ctx, creds)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.mu.creds = nil
		return nil, &tokenError{fmt.Errorf("%s: %w", s.source, err)}
	}
	if current != nil && current.token == g.token {
		return current, nil
	}
	s.mu.creds, s.mu.current = creds, g
	return g, nil
}

func (s *tokenSource) get(ctx context.Context, creds *auth.Credentials) (*grant, *auth.Credentials, error) {
	if creds == nil {
		var err error
		if creds, err = s.load(); err != nil {
			return nil, nil, err
		}
	}
	token, err := creds.Token(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("get access token: %w", classifyToken(err))
	}
	if token.Value == "" {
		return nil, nil, errors.New("get access token: answer has no token")
	}
	quotaProject, err := creds.QuotaProjectID(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("find quota project: %w", classifyToken(err))
	}
	return &grant{token: token, quotaProject: quotaProject}, creds, nil
}

// classifyToken returns the error of a request for a token in its class.
func classifyToken(err error) error {
	var aerr *auth.Error
	var merr *metadata.Error
	var undefined metadata.NotDefinedError
	var nerr net.Error
	switch {
	case errors.As(err, &aerr) && aerr.Response != nil:
		return tokenStatusError(aerr)
	case errors.As(err, &merr):
		return clientio.StatusError(merr.Code, http.StatusText(merr.Code))
	case errors.As(err, &undefined):
		return denied("this machine has no service account")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &nerr):
		return clientio.WithoutURL(err)
	}
	return errors.New(shorten(clientio.WithoutURL(err).Error()))
}

// tokenStatusError returns the error for a refusal in the format of RFC 6749.
func tokenStatusError(aerr *auth.Error) error {
	status := aerr.Response.StatusCode
	var body struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	text := http.StatusText(status)
	if json.Unmarshal(aerr.Body, &body) == nil && body.Code != "" {
		text = shorten(body.Code + ": " + body.Description)
	}
	text += skew(aerr.Response.Header)
	err := clientio.StatusError(status, text)
	if status == http.StatusBadRequest { // like invalid_grant
		return fmt.Errorf("%w (%w)", err, fs.ErrPermission)
	}
	return err
}
