package gs

import (
	"context"
	"net/http"
	"sync"
)

// transport adds credentials to requests, and records the results of the
// requests of an upload.
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
				_ = req.Body.Close() // RoundTrip has to close it
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

// upload is the record of the requests of one upload. The context of the
// requests carries it.
type upload struct {
	mu struct {
		sync.Mutex
		session string // URL of a resumable upload, which is a credential
		failed  bool   // the result of a request is unknown
	}
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
		u.mu.failed = true
	case resp.StatusCode == http.StatusOK && resp.Header.Get("Location") != "":
		u.mu.session = resp.Header.Get("Location")
	}
}

// state returns the URL of the resumable upload, or "", and whether the result
// of a request is unknown.
func (u *upload) state() (session string, failed bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.mu.session, u.mu.failed
}
