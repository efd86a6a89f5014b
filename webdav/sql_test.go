package webdav_test

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	dav "golang.org/x/net/webdav"

	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/webdav"
)

func md5Hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

func sha1Base64(s string) string {
	sum := sha1.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestSQL(t *testing.T) {
	s := goServer(t)
	n := 0
	sqltest.Run(t, sqltest.Store{
		Addr: strings.TrimPrefix(s.url, "http://"),
		NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
			n++
			path := fmt.Sprintf("/r%d", n)
			return func(rt http.RoundTripper) replica.Client {
				c := newClient(t, s, path)
				c.Transport = rt
				return c
			}
		},
	})
}

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		s := goServer(t)
		return sqltest.Root{
			Client: func(at string) replica.Client { return newClient(t, s, "/"+at) },
			Put:    func(name string, body []byte) { place(t, filepath.Join(s.root, name), body) },
		}
	})
}

// TestTrace compares the requests of common operations with a golden file.
func TestTrace(t *testing.T) {
	root := t.TempDir()
	var mu sync.Mutex
	var requests []string
	inner := &dav.Handler{FileSystem: dav.Dir(root), LockSystem: dav.NewMemLS()}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		requests = append(requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
		mu.Unlock()
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	take := func() string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(requests)
		text := strings.Join(requests, "\n")
		requests = nil
		return text
	}
	sqltest.Trace(t, newClient(t, server{s.URL, root}, "/app"), newClient(t, server{s.URL, root}, "/app"), take)
}

func BenchmarkScan(b *testing.B) {
	s := goServer(b)
	sqltest.Scan(b, newClient(b, s, "/app"), func() replica.Client { return newClient(b, s, "/app") })
}

func TestNewReplicaClientFromURL(t *testing.T) {
	for _, tt := range []struct{ url, server, user, path, identity string }{
		{"webdav://u:p@H/a//b/", "http://H", "u", "/a/b", "webdav://h/a/b"},
		{"webdavs://h:8443/a", "https://h:8443", "", "/a", "webdavs://h:8443/a"},
	} {
		client, err := replica.NewFromURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		c := client.(*webdav.ReplicaClient)
		if c.URL != tt.server || c.Username != tt.user || c.Path != tt.path || c.ReplicaIdentity() != tt.identity {
			t.Errorf("%s: %s, user %s, path %s, identity %s", tt.url, c.URL, c.Username, c.Path, c.ReplicaIdentity())
		}
	}
	for url, want := range map[string]string{"webdav:secret": "no host", "webdavs:///secret": "no host", "webdav://h/a?x=secret": `unknown parameter "x"`} {
		client, err := replica.NewFromURL(url)
		if err == nil || client != nil || !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got error %v, want one with %q", url, err, want)
		}
	}
}

// FuzzNewReplicaClientFromURL checks that every URL gives a client with an identity,
// or an error.
func FuzzNewReplicaClientFromURL(f *testing.F) {
	f.Add("webdavs", "example.com", "/a", "", "u")
	f.Fuzz(func(t *testing.T, scheme, host, urlPath, rawQuery, user string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		client, err := webdav.NewReplicaClientFromURL(scheme, host, urlPath, query, url.User(user))
		switch {
		case (err == nil) == (client == nil):
			t.Fatalf("client %v, error %v", client, err)
		case err != nil && !errors.Is(err, fs.ErrInvalid):
			t.Fatal(err)
		case err == nil && client.(*webdav.ReplicaClient).ReplicaIdentity() == "":
			t.Errorf("%q %q %q: no identity", scheme, host, urlPath)
		}
	})
}
