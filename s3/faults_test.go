package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/s3"
)

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// fakeClient returns a client of a server that handle is. Answers have the
// headers that those of S3 have.
func fakeClient(t testing.TB, handle http.HandlerFunc) *s3.ReplicaClient {
	t.Helper()
	noEnvironment(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Request-Id", "request")
		w.Header().Set("Etag", `"x"`)
		handle(w, r)
	}))
	t.Cleanup(srv.Close)
	s := &server{endpoint: srv.URL, key: testKey, secret: testSecret, bucket: "bucket"}
	return s.client(t, "r", nil)
}

func refuse(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if code != "" && req.Method != http.MethodHead {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
		}
	}
}

func isPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent() || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) ||
		errors.Is(err, fs.ErrExist) || errors.Is(err, errors.ErrUnsupported)
}

// operations are one of each kind of request.
var operations = map[string]func(context.Context, *s3.ReplicaClient) error{
	"list": func(ctx context.Context, c *s3.ReplicaClient) error {
		_, err := list(ctx, c, false)
		return err
	},
	"read": func(ctx context.Context, c *s3.ReplicaClient) error {
		_, err := read(ctx, c, 0, 1, 0, 10)
		return err
	},
	"write": func(ctx context.Context, c *s3.ReplicaClient) error {
		_, err := c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(smallFile))
		return err
	},
	"create": func(ctx context.Context, c *s3.ReplicaClient) error {
		_, err := c.CreateLTXFile(ctx, 0, 1, 1, bytes.NewReader(smallFile))
		return err
	},
	"delete": func(ctx context.Context, c *s3.ReplicaClient) error {
		return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{Level: 0, MinTXID: 1, MaxTXID: 1}})
	},
}

var smallFile = file(&testing.T{}, 1, 4096)

// Each answer has one class, whatever was asked for, and none is repeated.
func TestAnswers(t *testing.T) {
	const (
		transient = iota
		permanent
		refused
	)
	for _, tt := range []struct {
		status  int
		code    string
		class   int
		mention string
	}{
		{503, "SlowDown", transient, "SlowDown"},
		{503, "", transient, "Service Unavailable"},
		{500, "InternalError", transient, "InternalError"},
		{502, "", transient, "Bad Gateway"},
		{429, "TooManyRequests", transient, "TooManyRequests"},
		{408, "RequestCanceled", transient, "RequestCanceled"},
		{400, "RequestTimeout", transient, "RequestTimeout"},
		{409, "OperationAborted", transient, "OperationAborted"},
		{307, "TemporaryRedirect", transient, "TemporaryRedirect"},
		{400, "InvalidRequest", permanent, "InvalidRequest"},
		{404, "NoSuchBucket", permanent, "NoSuchBucket"},
		{404, "", permanent, "Not Found"},
		{409, "BucketNotReady", permanent, "BucketNotReady"},
		{301, "PermanentRedirect", permanent, "set the right region"},
		{400, "AuthorizationHeaderMalformed", permanent, "set the right region"},
		{403, "InvalidObjectState", permanent, "archived"},
		{403, "AccessDenied", refused, "credentials from the client's AccessKeyID"},
		{403, "InvalidAccessKeyId", refused, "credentials from the client's AccessKeyID"},
		{403, "SignatureDoesNotMatch", refused, "credentials from the client's AccessKeyID"},
		{404, "XAdminUserNotFound", refused, "credentials from the client's AccessKeyID"},
		{401, "", refused, "credentials from the client's AccessKeyID"},
		{400, "ExpiredToken", refused, "session token has expired"},
		{403, "RequestTimeTooSkewed", refused, "clock of this machine"},
	} {
		for name, do := range operations {
			t.Run(fmt.Sprintf("%s/%d %s", name, tt.status, tt.code), func(t *testing.T) {
				var requests atomic.Int64
				refusal := refuse(tt.status, tt.code, "It is the message, "+testSecret)
				c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
					requests.Add(1)
					refusal(w, req)
				})
				err := do(t.Context(), c)
				if err == nil {
					t.Fatal("no error")
				}
				if isPermanent(err) != (tt.class != transient) || errors.Is(err, fs.ErrPermission) != (tt.class == refused) {
					t.Errorf("wrong class: %v", err)
				}
				if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), tt.mention) {
					t.Errorf("got %v, want mention of %q", err, tt.mention)
				}
				if tt.code != "" && !strings.Contains(err.Error(), "It is the message") || strings.Contains(err.Error(), testSecret) {
					t.Errorf("message of the server: %v", err)
				}
				if n := requests.Load(); n != 1 {
					t.Errorf("%d requests", n)
				}
			})
		}
	}
}

func TestAnswers_Create(t *testing.T) {
	for _, tt := range []struct {
		status    int
		code      string
		want      error
		transient bool
	}{
		{412, "PreconditionFailed", fs.ErrExist, false},
		{501, "NotImplemented", errors.ErrUnsupported, false},
		{409, "ConditionalRequestConflict", nil, true},
		{500, "InternalError", nil, true},
	} {
		c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPut && req.Header.Get("If-None-Match") != "*" {
				t.Errorf("no If-None-Match: %v", req.Header)
			}
			refuse(tt.status, tt.code, "message")(w, req)
		})
		var logged testlog.Buffer
		c.Logger = testlog.New(t, &logged)
		err := operations["create"](t.Context(), c)
		if warned := strings.Contains(logged.String(), "cannot create"); warned != (tt.want == errors.ErrUnsupported) {
			t.Errorf("%s: warned is %v", tt.code, warned)
		}
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || isPermanent(err) == tt.transient {
			t.Errorf("%s: got %v", tt.code, err)
		}
		// An unconditional write does not mean that.
		if err := operations["write"](t.Context(), fakeClient(t, refuse(412, "PreconditionFailed", ""))); errors.Is(err, fs.ErrExist) {
			t.Errorf("write: %v", err)
		}
	}
}

// The bucket's region is in the answer.
func TestWrongRegion(t *testing.T) {
	c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-west-1")
		refuse(301, "PermanentRedirect", "elsewhere")(w, req)
	})
	if _, err := list(t.Context(), c, false); err == nil || !strings.Contains(err.Error(), "eu-west-1") {
		t.Errorf("got %v", err)
	}
}

// What a server sends instead of the range asked for is an error.
func TestRead_WrongAnswers(t *testing.T) {
	body := strings.Repeat("0123456789", 10)
	for _, tt := range []struct {
		name         string
		offset, size int64
		status       int
		header       string // Content-Range
		body         string
		err          string // "": the body is what was asked for
		permanent    bool
	}{
		{"right", 10, 20, 206, "bytes 10-29/100", body[10:30], "", false},
		{"right to the end", 90, 0, 206, "bytes 90-99/100", body[90:], "", false},
		{"right beyond the end", 90, 50, 206, "bytes 90-99/100", body[90:], "", false},
		{"right whole", 0, 0, 200, "", body, "", false},
		{"after the end", 100, 10, 416, "bytes */100", "", "", false},
		{"416 within the file", 90, 10, 416, "bytes */100", "", "http status 416", true},
		{"416 for all of it", 0, 0, 416, "", "", "http status 416", true},
		{"ignores the range", 10, 20, 200, "", body, "ignores the range", true},
		{"another start", 10, 20, 206, "bytes 0-19/100", body[:20], "content range", true},
		{"an earlier start", 10, 20, 206, "bytes 5-29/100", body[5:30], "content range", true},
		{"too little", 10, 20, 206, "bytes 10-19/100", body[10:20], "content range", true},
		{"too much", 10, 20, 206, "bytes 10-99/100", body[10:], "content range", true},
		{"no total", 10, 20, 206, "bytes 10-29/*", body[10:30], "content range", true},
		{"nonsense", 10, 20, 206, "bytes 29-10/100", body[10:30], "content range", true},
		{"other length than the range", 10, 20, 206, "bytes 10-29/100", body[10:25], "content range", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := fakeClient(t, func(w http.ResponseWriter, _ *http.Request) {
				if tt.header != "" {
					w.Header().Set("Content-Range", tt.header)
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(tt.body)))
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			got, err := read(t.Context(), c, 0, 1, tt.offset, tt.size)
			switch {
			case tt.err == "" && (err != nil || string(got) != tt.body):
				t.Errorf("got %q, %v", got, err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || isPermanent(err) != tt.permanent):
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

// A body that is cut off is an error that a caller may retry.
func TestRead_Cut(t *testing.T) {
	for _, reset := range []bool{false, true} {
		c := fakeClient(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(buf, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99/100\r\nContent-Length: 100\r\n\r\n%s", strings.Repeat("x", 50))
			_ = buf.Flush()
			if reset {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
		})
		got, err := read(t.Context(), c, 0, 1, 0, 100)
		if err == nil || errors.Is(err, io.EOF) || isPermanent(err) || len(got) > 50 {
			t.Errorf("reset %v: got %d bytes, %v", reset, len(got), err)
		}
		if !reset && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("got %v", err)
		}
	}
}

// A server without length, as some proxies are.
func TestRead_Chunked(t *testing.T) {
	c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = io.WriteString(w, "56")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "789")
	})
	if got, err := read(t.Context(), c, 0, 1, 5, 5); err != nil || string(got) != "56789" {
		t.Errorf("range: %q, %v", got, err)
	}
	if _, err := read(t.Context(), c, 0, 1, 0, 0); err == nil || !strings.Contains(err.Error(), "size of the file") {
		t.Errorf("whole: %v", err)
	}
}

// A caller that waits gets the error of its context, and the reason for the
// wait.
func TestSlowServer(t *testing.T) {
	for name, do := range operations {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			c := fakeClient(t, func(_ http.ResponseWriter, req *http.Request) {
				_, _ = io.Copy(io.Discard, req.Body)
				<-release
			})
			t.Cleanup(func() { close(release) }) // before the server closes
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := do(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNoNetwork(t *testing.T) {
	const closed = "127.0.0.1:1" // the port of a server that has closed may be another one's by now
	noEnvironment(t)
	for address, want := range map[string]string{
		"http://" + closed:            "connection refused",
		"https://s3.invalid./storage": "s3.invalid",
	} {
		s := &server{endpoint: address, key: testKey, secret: testSecret, bucket: "bucket"}
		for name, do := range operations {
			if err := do(t.Context(), s.client(t, "r", nil)); err == nil || isPermanent(err) || !strings.Contains(err.Error(), want) ||
				strings.Contains(err.Error(), "?") || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s at %s: %v", name, address, err)
			}
		}
	}
}

// A client on a machine whose clock is wrong learns the server's time.
func TestClockSkew(t *testing.T) {
	var requests atomic.Int64
	server := time.Now().Add(-3 * time.Hour)
	c := fakeClient(t, func(w http.ResponseWriter, req *http.Request) {
		requests.Add(1)
		w.Header().Set("Date", server.UTC().Format(http.TimeFormat))
		signed, err := time.Parse("20060102T150405Z", req.Header.Get("X-Amz-Date"))
		if err != nil || signed.Sub(server).Abs() > 15*time.Minute {
			refuse(403, "RequestTimeTooSkewed", "The difference is too large.")(w, req)
			return
		}
		_, _ = io.WriteString(w, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
	})
	for range 2 {
		if _, err := list(t.Context(), c, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := requests.Load(); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// Real answers of a real server.
func TestRealRefusals(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	for _, tt := range []struct {
		name   string
		change func(*s3.ReplicaClient)
		class  error // nil: permanent, and none of the others
	}{
		{"bucket", func(c *s3.ReplicaClient) { c.Bucket = "no-such-bucket-there" }, nil},
		{"key", func(c *s3.ReplicaClient) { c.AccessKeyID = "someoneelse" }, fs.ErrPermission},
		{"secret", func(c *s3.ReplicaClient) { c.SecretAccessKey = "wrongsecret" }, fs.ErrPermission},
		{"region", func(c *s3.ReplicaClient) { c.Region = "eu-west-1" }, nil},
	} {
		for name, do := range operations {
			c := s.newClient(t)
			tt.change(c)
			err := do(t.Context(), c)
			if err == nil || !isPermanent(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) != (tt.class != nil) {
				t.Errorf("wrong %s: %s: %v", tt.name, name, err)
			}
		}
	}
}
