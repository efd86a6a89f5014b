package abs_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/replica"
)

func TestNewReplicaClientFromURL(t *testing.T) {
	type fields struct {
		account, endpoint, bucket, path string
		partSize                        int64
		concurrency                     int
	}
	for _, tt := range []struct {
		url  string
		want fields
	}{
		{"abs://container/path", fields{bucket: "container", path: "path"}},
		{"abs://container", fields{bucket: "container"}},
		{"abs://container/", fields{bucket: "container"}},
		{"abs://myaccount@container/a//b/../app.db/", fields{account: "myaccount", bucket: "container", path: "a/app.db"}},
		{"abs://container/../x", fields{bucket: "container", path: "x"}},
		{"abs://container/with%20space", fields{bucket: "container", path: "with space"}},
		{
			"abs://devstoreaccount1@container/path?endpoint=http%3A%2F%2F127.0.0.1%3A10000%2Fdevstoreaccount1",
			fields{account: "devstoreaccount1", endpoint: "http://127.0.0.1:10000/devstoreaccount1", bucket: "container", path: "path"},
		},
		{"abs://container/path?account=myaccount&part-size=1048576&concurrency=7", fields{account: "myaccount", bucket: "container", path: "path", partSize: 1 << 20, concurrency: 7}},
		{"abs://myaccount@container/path?account-name=myaccount&partSize=4194304000", fields{account: "myaccount", bucket: "container", path: "path", partSize: 4000 << 20}},
	} {
		client, err := replica.NewFromURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		c := client.(*abs.ReplicaClient)
		got := fields{c.AccountName, c.Endpoint, c.Bucket, c.Path, c.PartSize, c.Concurrency}
		if got != tt.want || c.AccountKey != "" || c.SASToken != "" {
			t.Errorf("%s: got %+v, want %+v", tt.url, got, tt.want)
		}
	}

	for _, tt := range []struct{ url, want string }{
		{"abs:///path", "no container"},
		{"abs://My_Container/path", "My_Container"},
		{"abs://container:80/path", "container:80"},
		{"abs://a--b/path", "a--b"},
		{"abs://ab/path", `"ab"`},
		{"abs://" + strings.Repeat("a", 64), "3 to 63"},
		{"abs://account:secret@container/path", "LITESTREAM_AZURE_ACCOUNT_KEY"},
		{"abs://Account@container/path", "storage account"},
		{"abs://account@container/path?account=other", `"account"`},
		{"abs://container/path?sig=secret", `unknown parameter "sig"`},
		{"abs://container/path?endpoint=https://h&endpoint=https://secret", `"endpoint" needs one value`},
		{"abs://container/path?endpoint=secret", "endpoint"},
		{"abs://container/path?endpoint=ftp%3A%2F%2Fsecret", "endpoint"},
		{"abs://container/path?endpoint=https%3A%2F%2Fh%2F%3Fsig%3Dsecret", "SASToken"},
		{"abs://container/path?endpoint=https%3A%2F%2Fu:secret%40h%2F", "endpoint"},
		{"abs://container/path?endpoint=https%3A%2F%2F%2Fsecret", "endpoint"},
		{"abs://container/path?endpoint=https%3A%2F%2Fh%25zzsecret", "endpoint"},
		{"abs://container/path?part-size=secret", `"part-size"`},
		{"abs://container/path?part-size=0", `"part-size"`},
		{"abs://container/path?part-size=-1", `"part-size"`},
		{"abs://container/path?part-size=4194304001", `"part-size"`},
		{"abs://container/path?concurrency=", `"concurrency"`},
		{"abs://container/path?concurrency=99999", `"concurrency"`},
		{"abs://container/path?concurrency=1001", `"concurrency" is not a number between 1 and 1000`},
		{"abs://container/path?concurrency=9223372036854775808", `"concurrency"`},
	} {
		client, err := replica.NewFromURL(tt.url)
		if err == nil || client != nil || !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got error %v, want one with %q", tt.url, err, tt.want)
		}
	}
}

// Whatever a URL is, it gives a client that asks nothing but its endpoint, or an error.
func FuzzNewReplicaClientFromURL(f *testing.F) {
	f.Add("abs", "container", "/path", "endpoint=https%3A%2F%2Fh&part-size=5", "account")
	f.Add("abs", "a.b", "..", "account=x", "")
	f.Fuzz(func(t *testing.T, scheme, host, urlPath, rawQuery, user string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		client, err := abs.NewReplicaClientFromURL(scheme, host, urlPath, query, url.User(user))
		if (err == nil) == (client == nil) {
			t.Fatalf("client %v, error %v", client, err)
		}
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		c := client.(*abs.ReplicaClient)
		c.SASToken = "sig=x"
		want := c.AccountName + ".blob.core.windows.net"
		if c.Endpoint != "" {
			u, err := url.Parse(c.Endpoint)
			if err != nil {
				t.Fatal(err)
			}
			want = strings.TrimSuffix(u.Host, ":") // net/http leaves out an empty port, which is the default one
		}
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != want || r.URL.Query().Get("sig") != "x" {
				t.Errorf("%q %q: request to host %q", host, urlPath, r.URL.Host)
			}
			return answer(404, "BlobNotFound", "application/xml", ""), nil
		})
		if _, err := readAll(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q %q %q: %v", host, urlPath, rawQuery, err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
