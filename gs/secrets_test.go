package gs_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/replica"
)

// No error, no log of ours at DEBUG, and none of the libraries when they are
// asked for theirs, has a secret in it.
func TestNoSecrets(t *testing.T) {
	bucket := newBucket(t).BucketName()
	target, err := url.Parse(emulator(t))
	if err != nil {
		t.Fatal(err)
	}
	var out testlog.Buffer
	logger := testlog.New(t, &out)
	before := slog.Default()
	slog.SetDefault(logger) // takes package log along
	t.Cleanup(func() { slog.SetDefault(before) })
	stdout := captureStdout(t)
	t.Setenv("GOOGLE_SDK_GO_LOGGING_LEVEL", "debug")
	said := func(err error) {
		if err == nil {
			t.Error("no error")
			return
		}
		_, _ = io.WriteString(&out, err.Error()+"\n")
	}

	// The emulator, behind a service that wants a token.
	g := newGoogle(t)
	key := setCredentials(t, g.URL+"/token")
	t.Setenv("GOOGLE_SDK_GO_LOGGING_LEVEL", "debug")
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = target.Host
	}}
	g.api = proxy.ServeHTTP
	client := g.client(t)
	client.Bucket = bucket

	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
	p.Exec("INSERT INTO t VALUES (1, 2)")
	p.Snapshot()
	vfs := litestream.NewVFS(client, &litestream.Options{Logger: logger, ReadTimeout: time.Second, PollInterval: 10 * time.Millisecond})
	t.Cleanup(func() {
		if err := vfs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := vfstest.Register("gs-secrets", vfs); err != nil {
		t.Fatal(err)
	}
	db, err := sqlitetest.Open("file:app.db?mode=ro&vfs=gs-secrets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	var n int
	if err := db.QueryRow("SELECT n FROM t").Scan(&n); err != nil || n != 2 {
		t.Fatalf("got %d, %v", n, err)
	}

	// The token is refused, then the credentials are.
	never := "never"
	g.accepted.Store(&never)
	for _, m := range methods {
		said(m.call(t.Context(), client, body(t, 1)))
	}
	g.token = func(w http.ResponseWriter, r *http.Request) {
		reply(w, 400, map[string]string{"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
	}
	for _, m := range methods {
		said(m.call(t.Context(), client, body(t, 1)))
	}
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), "poll failed"); {
		if _, err := db.Exec("SELECT 1"); err != nil || time.Now().After(deadline) {
			t.Fatalf("polls do not fail: %v", err)
		}
	}

	// An upload that fails half way, and URLs that are wrong.
	u := &uploads{part: func(w http.ResponseWriter, _ int, _ bool) bool {
		refuse(w, 403, "forbidden", "No.")
		return true
	}}
	parts := u.serve(t).client(t)
	parts.PartSize = 256 << 10
	_, err = parts.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body(t, 200)))
	said(err)
	for _, s := range []string{"gs://user:secretpassword@bucket/a", "gs://bucket/a?token=secretpassword", "gs://bucket/%zz?endpoint=https://user:secretpassword@host"} {
		_, err := replica.NewFromURL(s)
		said(err)
	}

	text := out.String() + stdout()
	secrets := map[string]string{
		"token": "secrettoken", "private key": strings.Split(key, "\n")[3], "upload url": "secretsession", "password": "secretpassword",
	}
	for name, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("the %s is in a log or an error", name)
		}
	}
	if m := regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.`).FindString(text); m != "" {
		t.Errorf("an assertion is in a log or an error: %s", m)
	}
	for _, want := range []string{"invalid_grant", "GOOGLE_APPLICATION_CREDENTIALS", "database opened", "status 403"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing was logged of %q: the test tests nothing", want)
		}
	}
}

// captureStdout returns what gives what was written to the standard output
// since, and to the standard error.
func captureStdout(t *testing.T) func() string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "stdout")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout, os.Stderr = f, f
	restore := func() { os.Stdout, os.Stderr = stdout, stderr }
	t.Cleanup(func() { restore(); f.Close() })
	return func() string {
		restore()
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}
