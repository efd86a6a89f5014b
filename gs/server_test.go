package gs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replicatest"
)

// server answers as a test wants, and notes what it was asked for.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // guarded by mu: method and path
}

func newServer(t testing.TB, handle http.HandlerFunc) *server {
	s := unstartedServer(t, handle)
	s.Start()
	return s
}

// newTLSServer returns a server that is given credentials, if there are any.
func newTLSServer(t testing.TB, handle http.HandlerFunc) *server {
	s := unstartedServer(t, handle)
	s.StartTLS()
	return s
}

func unstartedServer(t testing.TB, handle http.HandlerFunc) *server {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		w.Header().Set("X-Goog-Generation", "1")
		w.Header().Set("Etag", `"x"`)
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// asked returns the requests so far, and forgets them.
func (s *server) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}

// client returns a client of a replica on the server.
func (s *server) client(t testing.TB) *gs.ReplicaClient {
	c := gs.NewReplicaClient()
	c.Bucket, c.Path, c.Endpoint = "bucket", "db", s.URL
	if s.TLS != nil {
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		tr := clientio.NewTransport(&tls.Config{RootCAs: pool})
		t.Cleanup(tr.CloseIdleConnections)
		c.Transport = tr
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// listing is the answer to a listing of nothing.
var listing = map[string]any{"kind": "storage#objects"}

// reply answers in the format of the service.
func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// refuse answers with an error in the format of the service.
func refuse(w http.ResponseWriter, status int, reason, message string) {
	reply(w, status, map[string]any{"error": map[string]any{
		"code": status, "message": message, "errors": []any{map[string]any{"reason": reason, "message": message}},
	}})
}

// reset breaks the connection of a request.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close()
	}
}

// body returns the LTX file 0/1-1, of some hundred bytes or more.
func body(t testing.TB, pages int) []byte {
	t.Helper()
	b, err := replicatest.FileSpec{MinTXID: 1, MaxTXID: 1, PageSize: 4096, Pages: pages}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The methods, for the file 0/1-1.
var methods = []struct {
	name string
	call func(context.Context, *gs.ReplicaClient, []byte) error
}{
	{"LTXFiles", func(ctx context.Context, c *gs.ReplicaClient, _ []byte) error {
		_, err := list(ctx, c)
		return err
	}},
	{"AllLTXFiles", func(ctx context.Context, c *gs.ReplicaClient, _ []byte) error {
		itr, err := c.AllLTXFiles(ctx, true)
		if err != nil {
			return err
		}
		_, err = ltx.SliceFileIterator(itr)
		return errors.Join(err, itr.Close())
	}},
	{"OpenLTXFile", func(ctx context.Context, c *gs.ReplicaClient, _ []byte) error {
		_, err := read(ctx, c, 0, 0)
		return err
	}},
	{"WriteLTXFile", func(ctx context.Context, c *gs.ReplicaClient, b []byte) error {
		_, err := c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(b))
		return err
	}},
	{"CreateLTXFile", func(ctx context.Context, c *gs.ReplicaClient, b []byte) error {
		_, err := c.CreateLTXFile(ctx, 0, 1, 1, bytes.NewReader(b))
		return err
	}},
	{"DeleteLTXFiles", func(ctx context.Context, c *gs.ReplicaClient, _ []byte) error {
		return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}})
	}},
}

func list(ctx context.Context, c *gs.ReplicaClient) ([]*ltx.FileInfo, error) {
	itr, err := c.LTXFiles(ctx, 0, 0, true)
	if err != nil {
		return nil, err
	}
	infos, err := ltx.SliceFileIterator(itr)
	return infos, errors.Join(err, itr.Close())
}

func read(ctx context.Context, c *gs.ReplicaClient, offset, size int64) ([]byte, error) {
	r, err := c.OpenLTXFile(ctx, 0, 1, 1, offset, size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// class returns the class of an error, as replica.Client has them.
func class(err error) string {
	var p interface{ Permanent() bool }
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case errors.Is(err, fs.ErrPermission):
		return "denied"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	case errors.Is(err, fs.ErrInvalid):
		return "invalid"
	case errors.Is(err, errors.ErrUnsupported):
		return "unsupported"
	case errors.As(err, &p) && p.Permanent():
		return "permanent"
	}
	return "transient"
}

// wantError checks the class of an error, and what it says.
func wantError(t *testing.T, err error, wantClass string, texts ...string) {
	t.Helper()
	if got := class(err); got != wantClass {
		t.Errorf("error is %s, want %s: %v", got, wantClass, err)
		return
	}
	for _, text := range texts {
		if err != nil && !strings.Contains(err.Error(), text) {
			t.Errorf("error does not say %q: %v", text, err)
		}
	}
}

// privateKey is made once: that takes a while.
var privateKey = sync.OnceValues(func() (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	b, err := x509.MarshalPKCS8PrivateKey(key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})), err
})

// setCredentials makes a service account the application default credentials,
// and returns its key. Its tokens come from tokenURL.
func setCredentials(t *testing.T, tokenURL string) string {
	t.Helper()
	noCredentials(t)
	key, err := privateKey()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project", "private_key_id": "keyid", "private_key": key,
		"client_email": "robot@project.iam.gserviceaccount.com", "client_id": "1", "token_uri": tokenURL,
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", name)
	return key
}

// noCredentials hides the credentials of the user that runs the test.
func noCredentials(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"GOOGLE_APPLICATION_CREDENTIALS": "", "STORAGE_EMULATOR_HOST": "", "GCE_METADATA_HOST": "",
		"GOOGLE_CLOUD_QUOTA_PROJECT": "", "HOME": home, "USERPROFILE": home, "APPDATA": home,
	} {
		t.Setenv(name, value)
	}
}
