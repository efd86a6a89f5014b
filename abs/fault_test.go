package abs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/storetest"
)

// permanent reports whether an error is one, by replica.Client.
func permanent(err error) bool {
	var p interface{ Permanent() bool }
	if errors.As(err, &p) {
		return p.Permanent()
	}
	for _, target := range []error{fs.ErrPermission, fs.ErrInvalid, fs.ErrExist, fs.ErrNotExist, errors.ErrUnsupported} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// fake returns a client of a server that does what a test wants. Its answers
// have the headers of the service.
func fake(t testing.TB, handler http.HandlerFunc) *abs.ReplicaClient {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ms-Request-Id", "request-1")
		w.Header().Set("Etag", `"x"`)
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	c := abs.NewReplicaClient()
	c.AccountName, c.AccountKey, c.Endpoint = account, accountKey, server.URL+"/"+account
	c.Bucket, c.Path = "bucket", replicaPath
	t.Cleanup(func() { c.Close() }) // before the server
	return c
}

// refuse answers with an error as the service does.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("X-Ms-Request-Id", "request-1")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>secret in a message</Message></Error>", code)
}

func TestOpenLTXFile_Answers(t *testing.T) {
	const body = "0123456789"
	for _, tt := range []struct {
		name         string
		offset, size int64
		status       int
		contentRange string
		body         string
		length       string // Content-Length, if not that of body
		want         string
		err          error
		errText      string
		permanent    bool
	}{
		{name: "whole", status: 200, body: body, want: body},
		{name: "range", offset: 2, size: 3, status: 206, contentRange: "bytes 2-4/10", body: "234", want: "234"},
		{name: "to the end", offset: 7, status: 206, contentRange: "bytes 7-9/10", body: "789", want: "789"},
		{name: "beyond the end", offset: 7, size: 9, status: 206, contentRange: "bytes 7-9/10", body: "789", want: "789"},
		{name: "from the start, all of it", size: 10, status: 200, body: body, want: body},
		{name: "empty range as azurite has it", offset: 10, size: 3, status: 206, contentRange: "bytes 10-9/10"},
		{name: "empty as others may have it", offset: 10, size: 3, status: 200},
		{name: "unsatisfiable", offset: 10, size: 3, status: 416, contentRange: "bytes */10", body: "x"},
		{name: "unsatisfiable without a length", offset: 10, size: 3, status: 416, body: "x"},
		{name: "unsatisfiable within the file", offset: 9, status: 416, contentRange: "bytes */10", body: "x", err: io.ErrUnexpectedEOF},
		{name: "ranges ignored", offset: 2, size: 3, status: 200, body: body, permanent: true, errText: "ranges are ignored"},
		{name: "ranges ignored from the start", size: 3, status: 200, body: body, permanent: true, errText: "ranges are ignored"},
		{name: "another range", offset: 2, size: 3, status: 206, contentRange: "bytes 3-5/10", body: "345", err: io.ErrUnexpectedEOF},
		{name: "a range that begins before", offset: 2, size: 3, status: 206, contentRange: "bytes 1-4/10", body: "1234", err: io.ErrUnexpectedEOF},
		{name: "a shorter range", offset: 2, size: 3, status: 206, contentRange: "bytes 2-3/10", body: "23", err: io.ErrUnexpectedEOF},
		{name: "a longer range", offset: 2, size: 3, status: 206, contentRange: "bytes 2-5/10", body: "2345", err: io.ErrUnexpectedEOF},
		{name: "no range", offset: 2, size: 3, status: 206, body: "234", err: io.ErrUnexpectedEOF, errText: "content range"},
		{name: "no total", offset: 2, size: 3, status: 206, contentRange: "bytes 2-4/*", body: "234", err: io.ErrUnexpectedEOF},
		{name: "a range backwards", offset: 2, size: 3, status: 206, contentRange: "bytes 4-2/10", body: "234", err: io.ErrUnexpectedEOF},
		{name: "a range too large", offset: 2, size: 3, status: 206, contentRange: "bytes 2-4/99999999999999999999", body: "234", err: io.ErrUnexpectedEOF},
		{name: "a length that is not the range's", offset: 2, size: 3, status: 206, contentRange: "bytes 2-4/10", body: "2345", err: io.ErrUnexpectedEOF},
		{name: "no length", status: 200, body: body, length: "none", err: io.ErrUnexpectedEOF, errText: "Content-Length"},
		{name: "short body", status: 200, body: "01234", length: "10", want: "01234", err: io.ErrUnexpectedEOF, errText: "5 of 10"},
		{name: "short range", offset: 2, size: 3, status: 206, contentRange: "bytes 2-4/10", body: "2", length: "3", want: "2", err: io.ErrUnexpectedEOF},
		{name: "archived", status: 409, body: "x", permanent: true, errText: "409"},
		{name: "throttled", status: 429, body: "x", errText: "429"},
		{name: "moved", status: 302, body: "x", permanent: true, errText: "302"},
		{name: "gone without a code", status: 404, body: "x", permanent: true, errText: "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fake(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.contentRange != "" {
					w.Header().Set("Content-Range", tt.contentRange)
				}
				if tt.status == 302 {
					w.Header().Set("Location", "http://"+r.Host+"/elsewhere?sig=secret")
				}
				switch tt.length {
				case "":
					w.Header().Set("Content-Length", fmt.Sprint(len(tt.body)))
				case "none":
				default:
					w.Header().Set("Content-Length", tt.length)
				}
				w.WriteHeader(tt.status)
				w.(http.Flusher).Flush()
				_, _ = io.WriteString(w, tt.body)
			})
			got, err := readAll(t.Context(), c, 1, tt.offset, tt.size)
			if string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			switch {
			case tt.err == nil && tt.errText == "":
				if err != nil {
					t.Error(err)
				}
			case err == nil, tt.err != nil && !errors.Is(err, tt.err), !strings.Contains(err.Error(), tt.errText):
				t.Errorf("got error %v, want %v with %q", err, tt.err, tt.errText)
			case permanent(err) != tt.permanent, errors.Is(err, fs.ErrNotExist):
				t.Errorf("%v: permanent is %v", err, permanent(err))
			case strings.Contains(err.Error(), "secret"):
				t.Errorf("the error shows too much: %v", err)
			}
		})
	}
}

// methods calls each method once, for a file of transaction 1.
func methods(t testing.TB) map[string]func(context.Context, *abs.ReplicaClient) error {
	body := encode(t, 1, 0, 4096)
	return map[string]func(context.Context, *abs.ReplicaClient) error{
		"LTXFiles": func(ctx context.Context, c *abs.ReplicaClient) error {
			_, err := listAll(ctx, c, 1)
			return err
		},
		"AllLTXFiles": func(ctx context.Context, c *abs.ReplicaClient) error {
			itr, err := c.AllLTXFiles(ctx, false)
			if err != nil {
				return err
			}
			itr.Next()
			return itr.Close()
		},
		"OpenLTXFile": func(ctx context.Context, c *abs.ReplicaClient) error {
			_, err := readAll(ctx, c, 1, 0, 0)
			return err
		},
		"WriteLTXFile": func(ctx context.Context, c *abs.ReplicaClient) error {
			_, err := c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(body))
			return err
		},
		"CreateLTXFile": func(ctx context.Context, c *abs.ReplicaClient) error {
			_, err := c.CreateLTXFile(ctx, 0, 1, 1, bytes.NewReader(body))
			return err
		},
		"DeleteLTXFiles of one": func(ctx context.Context, c *abs.ReplicaClient) error {
			return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}})
		},
		"DeleteLTXFiles of many": func(ctx context.Context, c *abs.ReplicaClient) error {
			return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}, {MinTXID: 2, MaxTXID: 2}})
		},
	}
}

// What the real server says no to.
func TestErrors_Server(t *testing.T) {
	hour := time.Hour
	all := sas.AccountPermissions{Read: true, Write: true, Create: true, Delete: true, List: true}
	for _, tt := range []struct {
		name     string
		client   func(c *abs.ReplicaClient) *abs.ReplicaClient
		allowed  string // the methods that work, of reading ("r") and listing ("l")
		want     error  // nil: permanent
		wantText string
	}{
		{"container", func(c *abs.ReplicaClient) *abs.ReplicaClient { c.Bucket = "no-such-container"; return c }, "", nil, `container "no-such-container" does not exist`},
		{"key", func(c *abs.ReplicaClient) *abs.ReplicaClient { c.AccountKey = "c2VjcmV0IGtleQ=="; return c }, "", fs.ErrPermission, "with the account key of the field AccountKey: wrong key"},
		{"account of the key", func(c *abs.ReplicaClient) *abs.ReplicaClient { c.AccountName = "another"; return c }, "", fs.ErrPermission, "account key of the field AccountKey"},
		{"expired", func(c *abs.ReplicaClient) *abs.ReplicaClient {
			return withSAS(t, c, accountSAS(t, all, time.Now().Add(-2*hour), time.Now().Add(-hour)))
		}, "", fs.ErrPermission, "with the shared access signature of the field SASToken: it expired at 20"},
		{"not valid yet", func(c *abs.ReplicaClient) *abs.ReplicaClient {
			return withSAS(t, c, accountSAS(t, all, time.Now().Add(hour), time.Now().Add(2*hour)))
		}, "", fs.ErrPermission, "it is not valid before 20"},
		{"read only", func(c *abs.ReplicaClient) *abs.ReplicaClient {
			return withSAS(t, c, accountSAS(t, sas.AccountPermissions{Read: true, List: true}, time.Now().Add(-hour), time.Now().Add(hour)))
		}, "rl", fs.ErrPermission, "it does not allow this operation"},
		{"altered", func(c *abs.ReplicaClient) *abs.ReplicaClient {
			return withSAS(t, c, strings.Replace(accountSAS(t, all, time.Now().Add(-hour), time.Now().Add(hour)), "sp=", "sp=x", 1))
		}, "", fs.ErrPermission, "shared access signature of the field SASToken"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			good := newClient(t)
			if err := methods(t)["WriteLTXFile"](t.Context(), good); err != nil {
				t.Fatal(err)
			}
			c := tt.client(keyClient(t, good.Bucket))
			for name, call := range methods(t) {
				err := call(t.Context(), c)
				if strings.Contains(tt.allowed, "r") && name == "OpenLTXFile" || strings.Contains(tt.allowed, "l") && strings.HasSuffix(name, "LTXFiles") {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				switch {
				case err == nil:
					t.Errorf("%s: no error", name)
				case !permanent(err), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist), tt.want != nil && !errors.Is(err, tt.want), !strings.Contains(err.Error(), tt.wantText):
					t.Errorf("%s: got error %v, want %v with %q", name, err, tt.want, tt.wantText)
				}
				for _, secret := range []string{c.AccountKey, c.SASToken, "sig=", "http://", "\n"} {
					if secret != "" && err != nil && strings.Contains(err.Error(), secret) {
						t.Errorf("%s: the error shows %q: %v", name, secret, err)
					}
				}
			}
		})
	}
}

// Where there is no server: errors that are worth another try.
func TestErrors_Network(t *testing.T) {
	const closed = "127.0.0.1:1" // the port of a server that has closed may be another one's by now
	for name, tt := range map[string]struct{ endpoint, want string }{
		"connection refused": {"http://" + closed, "connection refused"},
		"no such host":       {"http://store.invalid/", "store.invalid"},
		"not tls":            {"https://" + fakeHost(t), "does not look like a TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			c := abs.NewReplicaClient()
			c.Endpoint, c.SASToken, c.Bucket = tt.endpoint, "sv=1&sig=secret", "bucket"
			t.Cleanup(func() { c.Close() })
			for name, call := range methods(t) {
				err := call(t.Context(), c)
				if err == nil || permanent(err) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sig=") {
					t.Errorf("%s: got error %v, want a transient one with %q", name, err, tt.want)
				}
			}
		})
	}
}

func fakeHost(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// Answers that are errors, to every method.
func TestErrors_Answers(t *testing.T) {
	for _, tt := range []struct {
		name      string
		answer    http.HandlerFunc
		permanent bool
		want      error
		wantText  string
	}{
		{"busy", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "ServerBusy") }, false, nil, "ServerBusy"},
		{"internal", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 500, "OperationTimedOut") }, false, nil, "request request-1"},
		{"a proxy", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret page", http.StatusBadGateway) }, false, nil, "502"},
		{"clock", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			refuse(w, 403, "AuthenticationFailed")
		}, true, fs.ErrPermission, "the clock of this machine differs from the service's by 1h0m"},
		{"clock behind", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(26*time.Hour).UTC().Format(http.TimeFormat))
			refuse(w, 403, "AuthenticationFailed")
		}, true, fs.ErrPermission, "the clock of this machine differs from the service's by 2"},
		{"signature", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "AuthenticationFailed") }, true, fs.ErrPermission, "signature not accepted, wrong key"},
		{"malformed", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "InvalidAuthenticationInfo") }, true, fs.ErrPermission, "malformed or expired"},
		{"code that is none", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "secret & more") }, true, fs.ErrPermission, "no error code"},
		{"bad request", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 400, "InvalidHeaderValue") }, true, nil, "InvalidHeaderValue"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, call := range methods(t) {
				err := call(t.Context(), fake(t, tt.answer))
				switch {
				case err == nil, permanent(err) != tt.permanent, tt.want != nil && !errors.Is(err, tt.want),
					!strings.Contains(err.Error(), tt.wantText), errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist),
					strings.Contains(err.Error(), "secret"):
					t.Errorf("%s: got error %v, want %v with %q, permanent %v", name, err, tt.want, tt.wantText, tt.permanent)
				}
			}
		})
	}
}

// Callers retry, not the SDK.
func TestRequests_NotRetried(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"503":   func(w http.ResponseWriter, _ *http.Request) { refuse(w, 503, "ServerBusy") },
		"reset": func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	} {
		for method, call := range methods(t) {
			var requests atomic.Int64
			c := fake(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				answer(w, r)
			})
			if err := call(t.Context(), c); err == nil || permanent(err) {
				t.Errorf("%s, %s: got error %v, want a transient one", name, method, err)
			}
			if n := requests.Load(); n != 1 {
				t.Errorf("%s, %s: %d requests", name, method, n)
			}
		}
	}
}

// A server that does not answer delays a caller no longer than its context
// lasts.
func TestErrors_Slow(t *testing.T) {
	for name, call := range methods(t) {
		arrived := make(chan struct{}, 1)
		c := fake(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see the client go
			arrived <- struct{}{}
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		if err := call(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %v, want context.Canceled", name, err)
		}
	}
}

// A connection that breaks within a body.
func TestOpenLTXFile_Reset(t *testing.T) {
	bucket := bucketOf(t, newContainer(t))
	body := encode(t, 1, 0, 400<<10)
	if _, err := keyClient(t, bucket).WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	proxy := storetest.NewProxy(t, server(t).Host)
	c := keyClient(t, bucket)
	c.Transport = proxy.Transport()
	remove := proxy.Add(storetest.Toxic{Type: "limit_data", Attributes: map[string]any{"bytes": 100_000}})
	got, err := readAll(t.Context(), c, 1, 0, 0)
	if err == nil || permanent(err) || len(got) == 0 || len(got) >= 100_000 || !bytes.HasPrefix(body, got) {
		t.Fatalf("got %d bytes, error %v", len(got), err)
	}
	remove()
	rest, err := readAll(t.Context(), c, 1, int64(len(got)), 0)
	if err != nil || !bytes.Equal(append(got, rest...), body) {
		t.Errorf("the rest: %d bytes, error %v", len(rest), err)
	}
}
