package gs

import (
	"context"
	"net/http"
	"sync"
)

// transport adds credentials to requests, and notes what becomes of those of
// an upload.
type transport struct {
	base  http.RoundTripper
	creds *tokenSource // nil: none
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	var given *grant
	if t.creds != nil {
		var err error
		if given, err = t.creds.grant(ctx); err != nil {
			if req.Body != nil {
				_ = req.Body.Close() // as RoundTrip has to
			}
			return nil, err
		}
		req = req.Clone(ctx)
		req.Header.Set("Authorization", "Bearer "+given.token.Value)
		if given.quotaProject != "" {
			req.Header.Set("X-Goog-User-Project", given.quotaProject)
		}
	}
	resp, err := t.base.RoundTrip(req)
	if up, ok := ctx.Value(uploadKey{}).(*upload); ok {
		up.observe(resp, err)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized && given != nil {
		t.creds.reject(given)
	}
	return resp, nil
}

// upload is what the transport notes of the requests of one upload, which its
// context names.
type upload struct {
	mu      sync.Mutex
	session string // guarded by mu: the URL of a resumable upload, as good as a credential
	failed  bool   // guarded by mu: a request may have been carried out, or not
}

type uploadKey struct{}

func withUpload(ctx context.Context, up *upload) context.Context {
	return context.WithValue(ctx, uploadKey{}, up)
}

func (u *upload) observe(resp *http.Response, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err != nil, resp.StatusCode >= 500, resp.StatusCode == http.StatusRequestTimeout:
		u.failed = true
	case resp.StatusCode == http.StatusOK && resp.Header.Get("Location") != "":
		u.session = resp.Header.Get("Location")
	}
}

// state returns the URL of the resumable upload, or "", and whether it is
// unknown what became of some request.
func (u *upload) state() (session string, failed bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.session, u.failed
}
