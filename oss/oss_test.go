package oss_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/oss"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "s3cr3tsecret"

// server is a service in the process of the test.
type server struct {
	*storetest.OSSService
	url string
}

func newServer(t testing.TB) *server {
	for _, name := range []string{"OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	s := &server{OSSService: storetest.NewOSS()}
	s.Set(nil)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

func (s *server) client(t testing.TB, path string, transport http.RoundTripper) *oss.ReplicaClient {
	c := oss.NewReplicaClient()
	c.AccessKeyID, c.AccessKeySecret = "testkey", secret
	c.Endpoint, c.Bucket, c.Path, c.Transport = s.url, storetest.Bucket, path, transport
	t.Cleanup(func() { c.Close() })
	return c
}

func (s *server) properties() replicatest.Properties {
	return replicatest.Properties{
		PlaceForeign: func(_ *testing.T, c replica.Client, level int, name string, body []byte) {
			s.Put(fmt.Sprintf("%s/%04x/%s", c.(*oss.ReplicaClient).Path, level, name), body)
		},
		PlaceAt: func(_ *testing.T, c replica.Client, name string, body []byte) {
			s.Put(path.Join(c.(*oss.ReplicaClient).Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			again := s.client(t, c.(*oss.ReplicaClient).Path, nil)
			again.PartSize = c.(*oss.ReplicaClient).PartSize
			return again
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			client := c.(*oss.ReplicaClient)
			d, err := replica.NewFromURL("oss://" + client.Bucket + "/" + client.Path + below + "?endpoint=" + url.QueryEscape(client.Endpoint))
			if err != nil {
				t.Fatal(err)
			}
			e := d.(*oss.ReplicaClient)
			e.AccessKeyID, e.AccessKeySecret, e.PartSize = client.AccessKeyID, client.AccessKeySecret, client.PartSize
			t.Cleanup(func() { e.Close() })
			return e
		},
	}
}

func TestConformance(t *testing.T) {
	s := newServer(t)
	replicas := 0
	replicatest.Run(t, func(t *testing.T) replica.Client {
		replicas++
		return s.client(t, fmt.Sprintf("some/path/%d", replicas), nil)
	}, s.properties())
}

// The same with files in parts.
func TestConformance_Parts(t *testing.T) {
	s := newServer(t)
	s.PageSize = 150
	props := s.properties()
	props.LargeBody, props.ManyFiles = 1<<20, 400
	replicas := 0
	replicatest.Run(t, func(t *testing.T) replica.Client {
		replicas++
		c := s.client(t, fmt.Sprintf("some/path/%d", replicas), nil)
		c.PartSize = 100 << 10
		return c
	}, props)
}

func TestSQL(t *testing.T) {
	s := newServer(t)
	replicas := 0
	sqltest.Run(t, sqltest.Store{Addr: strings.TrimPrefix(s.url, "http://"), NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
		replicas++
		path := fmt.Sprintf("replica-%d", replicas)
		return func(tr http.RoundTripper) replica.Client { return s.client(t, path, tr) }
	}})
}

func BenchmarkScan(b *testing.B) {
	s := newServer(b)
	sqltest.Scan(b, s.client(b, "app", nil), func() replica.Client { return s.client(b, "app", nil) })
}

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		s := newServer(t)
		return sqltest.Root{Client: func(at string) replica.Client { return s.client(t, at, nil) }, Put: s.Put}
	})
}

// ltxFile returns a body of a size with an LTX header. The rest is no LTX file.
func ltxFile(txid ltx.TXID, size int) []byte {
	body := ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: 1, MinTXID: txid, MaxTXID: txid, Timestamp: 1_700_000_000_000},
		map[uint32][]byte{1: make([]byte, 512)}, false)
	return append(body, make([]byte, size-len(body))...)
}

// Sixteen clients create one file, whole or in parts. One succeeds.
func TestCreate_Race(t *testing.T) {
	s := newServer(t)
	for _, size := range []int{1000, 300_000} {
		var errs [16]error
		var group errgroup.Group
		for i := range errs {
			c := s.client(t, fmt.Sprintf("race-%d", size), nil)
			c.PartSize = 100 << 10
			group.Go(func() error {
				_, errs[i] = c.CreateLTXFile(context.Background(), 0, 1, 1, bytes.NewReader(ltxFile(1, size)))
				return nil
			})
		}
		_ = group.Wait() // the errors are in errs
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		}
		if won != 1 {
			t.Errorf("%d clients created a file of %d bytes", won, size)
		}
	}
}

// In a bucket with versioning, the service ignores that a file must not exist.
func TestCreate_Versioning(t *testing.T) {
	for _, versioning := range []string{"Enabled", "Suspended"} {
		s := newServer(t)
		s.Versioning = versioning
		c := s.client(t, "app.db", nil)
		_, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(ltxFile(1, 1000)))
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "has versioning ("+versioning+")") {
			t.Errorf("got error %v", err)
		}
		if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(ltxFile(1, 1000))); err != nil {
			t.Error(err)
		}
	}
}

// recorder is a transport that writes requests down.
type recorder struct {
	http.RoundTripper
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	line := req.Method + " " + strings.TrimPrefix(req.URL.Path, "/"+storetest.Bucket+"/")
	if query := req.URL.Query(); query.Has("list-type") {
		line = "LIST " + query.Get("prefix")
		if query.Has("continuation-token") {
			line += " continued"
		}
	}
	if text := req.Header.Get("Range"); text != "" {
		line += " " + text
	}
	r.mu.Lock()
	r.lines = append(r.lines, fmt.Sprintf("%s: %d", line, resp.StatusCode))
	r.mu.Unlock()
	return resp, nil
}

// take returns the requests since the last call, in order of text.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.lines)
	text := fmt.Sprintf("%d requests\n%s\n", len(r.lines), strings.Join(r.lines, "\n"))
	r.lines = nil
	return text
}

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// What open, a random row, a poll and time travel ask for.
func TestTrace(t *testing.T) {
	s := newServer(t)
	p := ltxtest.New(t, s.client(t, "app.db", nil), ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) INSERT INTO t SELECT i, zeroblob(2000) FROM c")
	at := p.Snapshot()
	p.DeleteLevelBelow(0, at+1)
	for i := range 3 {
		p.Exec("UPDATE t SET b = zeroblob(1999) WHERE id = ?", i*50+1)
	}
	rec := &recorder{RoundTripper: clientio.NewTransport(nil)}
	t.Cleanup(rec.RoundTripper.(*http.Transport).CloseIdleConnections)
	db := openVFS(t, s.client(t, "app.db", rec))
	var out strings.Builder
	step := func(name, statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		fmt.Fprintf(&out, "%s: %s\n", name, rec.take())
	}
	step("open and first row", "SELECT 1 FROM sqlite_schema")
	step("random row", "SELECT b FROM t WHERE id = 1500")
	p.Exec("UPDATE t SET b = NULL WHERE id = 1")
	step("follow", fmt.Sprintf("PRAGMA litestream_wait = '%s'", p.TXID()))
	step("travel", fmt.Sprintf("PRAGMA litestream_txid = '%s'", p.TXID()-3))
	file := filepath.Join("testdata", "trace.txt")
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func openVFS(t testing.TB, client replica.Client) *sql.DB {
	t.Helper()
	vfs := litestream.NewVFS(client, &litestream.Options{Logger: testlog.New(t, nil), PollInterval: time.Hour, ReadAheadSize: -1})
	if err := vfstest.Register("oss-test", vfs); err != nil {
		t.Fatal(err)
	}
	db, err := sqlitetest.Open("file:app.db?mode=ro&vfs=oss-test")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		db.Close()
		if err := vfs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return db
}

// What goes wrong is one clear error without a credential.
func TestFaults(t *testing.T) {
	s := newServer(t)
	const unused = "127.0.0.1:1" // the port of a server that has closed may be another one's by now
	answer := func(fn http.HandlerFunc) string {
		srv := httptest.NewServer(fn)
		t.Cleanup(srv.Close)
		return srv.URL
	}
	page := answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html><title>Guest WiFi</title></html>") })
	nothing := answer(func(http.ResponseWriter, *http.Request) {})
	moved := answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://elsewhere.example.com/")
		w.WriteHeader(http.StatusMovedPermanently)
	})
	echo := answer(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "<Error><Code>SignatureDoesNotMatch</Code><Message>%s is not the secret of testkey, %s</Message></Error>", secret, r.Header.Get("Authorization"))
	})
	for _, tt := range []struct {
		name   string
		change func(*oss.ReplicaClient)
		class  error // nil: transient
		want   string
	}{
		{"bucket", func(c *oss.ReplicaClient) { c.Bucket = "" }, fs.ErrInvalid, "no bucket is set"},
		{"bucket name", func(c *oss.ReplicaClient) { c.Bucket = "A_b" }, fs.ErrInvalid, "bucket name"},
		{"path", func(c *oss.ReplicaClient) { c.Path = "/a" }, fs.ErrInvalid, "path begins or ends"},
		{"region", func(c *oss.ReplicaClient) { c.Region = "a.b" }, fs.ErrInvalid, "region is not like"},
		{"part size", func(c *oss.ReplicaClient) { c.PartSize = 1 }, fs.ErrInvalid, "part size"},
		{"concurrency", func(c *oss.ReplicaClient) { c.Concurrency = -1 }, fs.ErrInvalid, "concurrency"},
		{"half a key", func(c *oss.ReplicaClient) { c.AccessKeyID = "" }, fs.ErrInvalid, "without the other"},
		{"endpoint", func(c *oss.ReplicaClient) { c.Endpoint = "https://u:" + secret + "@host" }, fs.ErrInvalid, "endpoint has more than"},
		{"no key", func(c *oss.ReplicaClient) { c.AccessKeyID, c.AccessKeySecret = "", "" }, fs.ErrPermission, "OSS_ACCESS_KEY_ID or OSS_ACCESS_KEY_SECRET is not set"},
		{"wrong key", func(c *oss.ReplicaClient) { c.AccessKeyID = "otherkey" }, fs.ErrPermission, "credentials from the client's AccessKeyID: http status 403: InvalidAccessKeyId"},
		{"echo", func(c *oss.ReplicaClient) { c.Endpoint = echo }, fs.ErrPermission, "[redacted] is not the secret of [redacted]"},
		{"no such bucket", func(c *oss.ReplicaClient) { c.Bucket = "other" }, errPermanent, "http status 404: NoSuchBucket"},
		{"wrong host", func(c *oss.ReplicaClient) { c.Endpoint = "http://" + unused }, nil, "connection refused"},
		{"page", func(c *oss.ReplicaClient) { c.Endpoint = page }, nil, "something else than the store may have answered"},
		{"nothing", func(c *oss.ReplicaClient) { c.Endpoint = nothing }, nil, "something else than the store may have answered"},
		{"moved", func(c *oss.ReplicaClient) { c.Endpoint = moved }, errPermanent, "http status 301"},
	} {
		for method, call := range methods() {
			c := s.client(t, "app.db", nil)
			tt.change(c)
			err := call(t.Context(), c)
			if err == nil {
				t.Errorf("%s, %s: no error", tt.name, method)
				continue
			}
			var permanent interface{ Permanent() bool }
			is := errors.As(err, &permanent) && permanent.Permanent() || errors.Is(err, fs.ErrInvalid) || errors.Is(err, fs.ErrPermission)
			switch {
			case !strings.Contains(err.Error(), tt.want):
				t.Errorf("%s, %s: %v, want %q in it", tt.name, method, err, tt.want)
			case tt.class != nil && tt.class != errPermanent && !errors.Is(err, tt.class), is != (tt.class != nil), errors.Is(err, fs.ErrNotExist):
				t.Errorf("%s, %s: %v is of another class than %v", tt.name, method, err, tt.class)
			case strings.Contains(err.Error(), secret):
				t.Errorf("%s, %s: the secret is in the error: %v", tt.name, method, err)
			}
			t.Logf("%s, %s: %v", tt.name, method, err)
		}
	}
	hanging := make(chan struct{})
	silent := answer(func(http.ResponseWriter, *http.Request) { <-hanging })
	defer close(hanging)
	for method, call := range methods() {
		c := s.client(t, "app.db", nil)
		c.Endpoint = silent
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := call(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got error %v, want the context's", method, err)
		}
		cancel()
	}
}

// An answer that does not tell its length is not an empty file.
func TestOpen_NoLength(t *testing.T) {
	body := ltxFile(1, 1000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Oss-Request-Id", "r")
		w.Header().Set("Etag", `"x"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(body)
		w.(http.Flusher).Flush() // so that the answer comes in chunks
	}))
	t.Cleanup(srv.Close)
	c := (&server{url: srv.URL}).client(t, "db", nil)
	r, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	if err == nil {
		defer r.Close()
		var got []byte
		got, err = io.ReadAll(r)
		t.Logf("%d bytes", len(got))
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "does not tell the size") {
		t.Errorf("got error %v", err)
	}
}

var errPermanent = errors.New("permanent")

func methods() map[string]func(context.Context, *oss.ReplicaClient) error {
	return map[string]func(context.Context, *oss.ReplicaClient) error{
		"list": func(ctx context.Context, c *oss.ReplicaClient) error {
			itr, err := c.LTXFiles(ctx, 0, 0, false)
			if err != nil {
				return err
			}
			itr.Next()
			return itr.Close()
		},
		"open": func(ctx context.Context, c *oss.ReplicaClient) error {
			r, err := c.OpenLTXFile(ctx, 0, 1, 1, 0, 0)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		},
		"write": func(ctx context.Context, c *oss.ReplicaClient) error {
			_, err := c.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(ltxFile(1, 1000)))
			return err
		},
		"create": func(ctx context.Context, c *oss.ReplicaClient) error {
			_, err := c.CreateLTXFile(ctx, 0, 2, 2, bytes.NewReader(ltxFile(2, 1000)))
			return err
		},
		"delete": func(ctx context.Context, c *oss.ReplicaClient) error {
			return c.DeleteLTXFiles(ctx, []*ltx.FileInfo{{MinTXID: 1, MaxTXID: 1}})
		},
		"survey": func(ctx context.Context, c *oss.ReplicaClient) error {
			_, err := c.Survey(ctx, "")
			return err
		},
	}
}

func TestURL(t *testing.T) {
	for _, tt := range []struct {
		url      string
		want     func(*oss.ReplicaClient)
		identity string
	}{
		{"oss://bucket/a/b.db", func(c *oss.ReplicaClient) { c.Path = "a/b.db" }, "oss://bucket/a/b.db"},
		{"oss://bucket.oss-eu-central-1.aliyuncs.com/app.db", func(c *oss.ReplicaClient) { c.Region, c.Path = "eu-central-1", "app.db" }, "oss://bucket/app.db"},
		{"oss://bucket.oss-cn-hangzhou-internal.aliyuncs.com/", func(c *oss.ReplicaClient) { c.Region, c.Internal = "cn-hangzhou", true }, "oss://bucket/"},
		{"oss://bucket/p?region=eu-west-1&part-size=1MiB&concurrency=5&metadata-concurrency=7", func(c *oss.ReplicaClient) {
			c.Path, c.Region, c.PartSize, c.Concurrency, c.MetadataConcurrency = "p", "eu-west-1", 1<<20, 5, 7
		}, "oss://bucket/p"},
		{"oss://bucket/p?endpoint=https://oss.example.com", func(c *oss.ReplicaClient) { c.Path, c.Endpoint = "p", "https://oss.example.com" }, "oss://bucket/p?endpoint=oss.example.com"},
	} {
		got, err := replica.NewFromURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		want := oss.NewReplicaClient()
		want.Bucket = "bucket"
		tt.want(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v", tt.url, got)
		}
		if id := got.(replica.Identifier).ReplicaIdentity(); id != tt.identity {
			t.Errorf("%s: identity is %s, want %s", tt.url, id, tt.identity)
		}
	}
	for _, tt := range [][2]string{
		{"oss://", "no bucket"},
		{"oss:///path", "no bucket"},
		{"oss://oss-cn-hangzhou.aliyuncs.com/path", "no bucket"},
		{"oss://user:" + secret + "@bucket/path", "holds credentials"},
		{"oss://bucket:80/path", "bucket name"},
		{"oss://bucket/p?endpoint=https://u:" + secret + "@h", "endpoint has more"},
		{"oss://bucket/p?part-size=1", "size from 100KiB"},
		{"oss://bucket/p?concurrency=0", "number from 1"},
		{"oss://bucket/p?regoin=x", `did you mean "region"?`},
		{"oss://bucket/p?region=a&region=b", "needs one value"},
		{"oss://bucket.oss-cn-hangzhou-internal.aliyuncs.com/p?endpoint=http://h", "Internal is set"},
	} {
		_, err := replica.NewFromURL(tt[0])
		if err == nil || !strings.Contains(err.Error(), tt[1]) || strings.Contains(err.Error(), secret) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: got error %v, want %q", tt[0], err, tt[1])
		}
	}
}

// FuzzNewReplicaClientFromURL checks that every URL gives a client with an identity, or
// an error.
func FuzzNewReplicaClientFromURL(f *testing.F) {
	f.Add("bucket.oss-eu-central-1-internal.aliyuncs.com", "/a//b/..", "part-size=1MiB&concurrency=4")
	f.Add("bucket", "a%20b", "region=eu-central-1&endpoint=https://h:1")
	f.Fuzz(func(t *testing.T, host, urlPath, rawQuery string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		client, err := oss.NewReplicaClientFromURL("oss", host, urlPath, query, nil)
		switch {
		case (err == nil) == (client == nil):
			t.Fatalf("client %v, error %v", client, err)
		case err != nil && !errors.Is(err, fs.ErrInvalid):
			t.Fatal(err)
		case err == nil && client.(replica.Identifier).ReplicaIdentity() == "":
			t.Errorf("%q %q %q: no identity", host, urlPath, rawQuery)
		}
	})
}
