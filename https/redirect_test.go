package https_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream/https"
)

// redirected is a server that redirects everything to a target, and one for the target
// that keeps the headers of requests.
type redirected struct {
	client *https.ReplicaClient

	mu      sync.Mutex
	target  string        // guarded by mu
	headers []http.Header // guarded by mu; what the other server was sent
}

// newRedirected returns a client of a server that redirects to another one, which has
// a replica with one file.
func newRedirected(t *testing.T) (r *redirected, body []byte) {
	t.Helper()
	other := newServer(t)
	folder := newServed(t, other.URL, other.root, "app", true)
	body = encode(t, 1, 1, 10_000)
	write(t, folder, 1, body)
	r = &redirected{target: other.URL}
	other.answer(func(_ http.ResponseWriter, req *http.Request) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.headers = append(r.headers, req.Header.Clone())
		return false
	})
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		http.Redirect(w, req, r.target+req.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(first.Close)
	r.client = newClient(t, first.URL+"/app")
	r.client.Username, r.client.Password = "me", "s3cr3t"
	r.client.Header = http.Header{"X-Api-Key": {"s3cr3t"}, "Cookie": {"session=s3cr3t"}}
	return r, body
}

// A redirect to another server reads from there, and does not take along what is meant
// for the first one, also not to another port of the same host.
func TestRedirect_OtherServer(t *testing.T) {
	r, body := newRedirected(t)
	got, err := read(t.Context(), r.client, 1, 100, 200)
	if err != nil || string(got) != string(body[100:300]) {
		t.Fatalf("read %d bytes, error %v", len(got), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range r.headers {
		for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Referer"} {
			if h.Get(name) != "" {
				t.Errorf("the other server was sent %s: %q", name, h.Get(name))
			}
		}
	}
	if len(r.headers) < 2 || r.headers[len(r.headers)-1].Get("Range") != "bytes=100-299" {
		t.Errorf("the other server was sent %v", r.headers)
	}
}

// A redirect does not lead to a file of this host, or to anything but a web server.
func TestRedirect_OtherSchemes(t *testing.T) {
	r, _ := newRedirected(t)
	for _, target := range []string{"file://" + filepath.ToSlash(t.TempDir()), "ftp://127.0.0.1", "unix://", "javascript:"} {
		r.mu.Lock()
		r.target = target
		r.mu.Unlock()
		if _, err := list(t.Context(), r.client); err == nil {
			t.Errorf("%s: no error", target)
		}
	}
}

// A redirect stays at the server: then everything is sent again. One from https to http
// is refused.
func TestRedirect_SameServer(t *testing.T) {
	plain := newServer(t)
	newServed(t, plain.URL, plain.root, "app", true)
	var mu sync.Mutex
	target, requests := "", 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, password, _ := req.BasicAuth()
		if password != "s3cr3t" || req.Header.Get("X-Api-Key") != "s3cr3t" {
			t.Errorf("%s comes with %v", req.URL, req.Header)
		}
		mu.Lock()
		defer mu.Unlock()
		requests++
		if rest, ok := strings.CutPrefix(req.URL.Path, "/app/"); ok {
			http.Redirect(w, req, target+"/moved/"+rest, http.StatusFound)
			return
		}
		http.StripPrefix("/moved", http.FileServer(http.Dir(filepath.Join(plain.root, "app")))).ServeHTTP(w, req)
	}))
	defer server.Close()
	c := newClient(t, server.URL+"/app")
	c.Transport, c.Username, c.Password, c.Header = server.Client().Transport, "me", "s3cr3t", http.Header{"X-Api-Key": {"s3cr3t"}}
	if _, err := list(t.Context(), c); err != nil || requests < 2 {
		t.Errorf("%d requests, error %v", requests, err)
	}
	mu.Lock()
	target = plain.URL
	mu.Unlock()
	plain.take()
	if _, err := list(t.Context(), c); err == nil || !strings.Contains(err.Error(), "redirect from https to http") || !permanent(err) {
		t.Errorf("from https to http: %v", err)
	}
	if got := plain.take(); got != "" {
		t.Errorf("the server without encryption was asked for %s", got)
	}
}
