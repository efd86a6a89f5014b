package s3_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
	"github.com/ltxvfs/litestream/s3"
)

// directory is a server with a directory bucket.
type directory struct {
	*storetest.DirectoryService
	url string
}

func newDirectory(t testing.TB) *directory {
	noEnvironment(t)
	d := &directory{DirectoryService: storetest.NewDirectory()}
	d.Set(nil)
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	d.url = srv.URL
	return d
}

func (d *directory) client(t testing.TB, path string, transport http.RoundTripper) *s3.ReplicaClient {
	c := s3.NewReplicaClient()
	c.AccessKeyID, c.SecretAccessKey, c.Region = testKey, testSecret, "us-east-1"
	c.Endpoint, c.Bucket, c.Path, c.Transport = d.url, storetest.DirectoryBucket, path, transport
	c.Logger = testlog.New(t, nil)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDirectory_Conformance(t *testing.T) {
	d := newDirectory(t)
	d.PageSize = 300
	replicas := 0
	replicatest.Run(t, func(t *testing.T) replica.Client {
		replicas++
		return d.client(t, fmt.Sprintf("some/path/%d", replicas), nil)
	}, replicatest.Properties{
		PlaceForeign: func(_ *testing.T, c replica.Client, level int, name string, body []byte) {
			d.Put(fmt.Sprintf("%s/%04x/%s", c.(*s3.ReplicaClient).Path, level, name), body)
		},
		PlaceAt: func(_ *testing.T, c replica.Client, name string, body []byte) {
			d.Put(path.Join(c.(*s3.ReplicaClient).Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			return d.client(t, c.(*s3.ReplicaClient).Path, nil)
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			return at(t, c.(*s3.ReplicaClient), below)
		},
	})
}

// The names of a replica without a path begin with a slash.
func TestDirectory_NoPath(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t, "", nil)
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		write(t, c, 0, txid, file(t, txid, 4096))
	}
	itr, err := c.AllLTXFiles(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if files, err := ltx.SliceFileIterator(itr); err != nil || len(files) != 3 {
		t.Errorf("%d files, %v", len(files), err)
	}
}

func TestDirectory_SQL(t *testing.T) {
	d := newDirectory(t)
	replicas := 0
	sqltest.Run(t, sqltest.Store{Addr: strings.TrimPrefix(d.url, "http://"), NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
		replicas++
		path := fmt.Sprintf("replica-%d", replicas)
		return func(tr http.RoundTripper) replica.Client { return d.client(t, path, tr) }
	}})
}

// What open, a random row, a poll and time travel ask for. A listing of several
// pages is read to its end.
func TestDirectory_Trace(t *testing.T) {
	d := newDirectory(t)
	d.PageSize = 10
	p := ltxtest.New(t, d.client(t, "app.db", nil), ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 2000) INSERT INTO t SELECT i, substr(?, i * 2000 - 1999, 2000) FROM c", ltxtest.Noise(2000*2000))
	at := p.Snapshot()
	p.DeleteLevelBelow(0, at+1)
	for i := range 12 {
		p.Exec("UPDATE t SET b = zeroblob(1999) WHERE id = ?", i*50+1)
	}
	rec := &recorder{inner: clientio.NewTransport(nil), root: "app.db/"}
	t.Cleanup(rec.inner.(*http.Transport).CloseIdleConnections)
	db, err := openVFS(t, d.client(t, "app.db", rec), &litestream.Options{Logger: testlog.New(t, nil), PollInterval: time.Hour, ReadAheadSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	exec := func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	var out strings.Builder
	step := func(name string) {
		t.Helper()
		_, text := rec.take()
		fmt.Fprintf(&out, "%s: %s\n", name, text)
	}
	exec("SELECT 1 FROM sqlite_schema")
	step("open and first row")
	exec("SELECT b FROM t WHERE id = 1500")
	step("random row")
	p.Exec("UPDATE t SET b = NULL WHERE id = 1")
	exec(fmt.Sprintf("PRAGMA litestream_wait = '%s'", p.TXID()))
	step("follow")
	exec(fmt.Sprintf("PRAGMA litestream_txid = '%s'", p.TXID()-3))
	step("travel")
	golden(t, "directory.txt", out.String())
}

// Sessions are renewed before they expire, and one serves all requests meanwhile.
func TestDirectory_Sessions(t *testing.T) {
	d := newDirectory(t)
	c := d.client(t, "app.db", nil)
	for txid := ltx.TXID(1); txid <= 20; txid++ {
		write(t, c, 0, txid, file(t, txid, 4096))
	}
	if n := d.Sessions(); n != 1 {
		t.Errorf("%d sessions for 20 files", n)
	}
	d = newDirectory(t)
	d.Lifetime = time.Minute + 100*time.Millisecond // the SDK renews them a minute before
	c = d.client(t, "app.db", nil)
	for deadline := time.Now().Add(time.Minute); d.Sessions() < 3; time.Sleep(10 * time.Millisecond) {
		write(t, c, 0, 1, file(t, 1, 4096))
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions", d.Sessions())
		}
	}
}

// What a directory bucket does not have is one clear error, and no error shows a
// credential of the user or of the session.
func TestDirectory_Faults(t *testing.T) {
	d := newDirectory(t)
	for _, tt := range []struct {
		change func(*s3.ReplicaClient)
		is     error
		want   string
	}{
		{func(c *s3.ReplicaClient) { c.SSECustomerKey = "key" }, fs.ErrInvalid, "takes no keys of customers"},
		{func(c *s3.ReplicaClient) { c.StorageClass = "STANDARD" }, fs.ErrInvalid, "no other storage class than EXPRESS_ONEZONE"},
		{func(c *s3.ReplicaClient) { c.PutObjectContentMD5 = true }, fs.ErrInvalid, "takes no MD5"},
		{func(c *s3.ReplicaClient) { c.Region, c.Endpoint = "", "" }, fs.ErrInvalid, "region is not set"},
		{func(c *s3.ReplicaClient) { c.AccessKeyID = "otherkey" }, fs.ErrPermission, "http status 403: AccessDenied"},
		{func(c *s3.ReplicaClient) { c.Bucket = "other--use1-az4--x-s3" }, nil, "http status 404: NoSuchBucket"},
	} {
		c := d.client(t, "app.db", nil)
		tt.change(c)
		_, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
		switch {
		case err == nil || !strings.Contains(err.Error(), tt.want):
			t.Errorf("got error %v, want %q", err, tt.want)
		case tt.is != nil && !errors.Is(err, tt.is), errors.Is(err, fs.ErrNotExist):
			t.Errorf("%v: is not %v", err, tt.is)
		}
		t.Log(err)
	}
	secrets := []string{testSecret, "sessionsecret", "sessionkey", "token-"}
	echo := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("session") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>no %s, %s, sessionsecret</Message></Error>", r.Header.Get("X-Amz-S3session-Token"), r.Header.Get("Authorization"))
		return true
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !echo(w, r) {
			d.ServeHTTP(w, r)
		}
	}))
	defer srv.Close()
	c := d.client(t, "app.db", nil)
	c.Endpoint = srv.URL
	_, err := c.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got error %v", err)
	}
	for _, secret := range secrets {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error has %s: %v", secret, err)
		}
	}
}

// An answer to a request for a session that does not come from the store is a
// transient error.
func TestDirectory_WrongSession(t *testing.T) {
	noEnvironment(t)
	for _, body := range []string{"", "OK", "<html></html>", "<CreateSessionResult>"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) }))
		d := &directory{url: srv.URL}
		_, err := d.client(t, "app.db", nil).WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(file(t, 1, 4096)))
		var wrong *clientio.AnswerError
		if !errors.As(err, &wrong) {
			t.Errorf("%q: got error %v, want that the answer is wrong", body, err)
		}
		srv.Close()
	}
}
