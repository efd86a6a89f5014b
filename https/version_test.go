package https_test

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/https"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/replica"
)

func withVersion(ctx context.Context, v string) context.Context { return clientio.WithVersion(ctx, v) }

func withNoter(ctx context.Context, v *string) context.Context {
	return clientio.WithVersionNoter(ctx, func(_ *ltx.FileInfo, version string) { *v = version })
}

func TestNewReplicaClientFromURL(t *testing.T) {
	for _, tt := range []struct{ url, address, user, identity string }{
		{"https://example.com/data/app.db", "https://example.com/data/app.db", "", "https://example.com/data/app.db"},
		{"https://u:p@Example.com:8443/a%20b/", "https://Example.com:8443/a%20b/", "u", "https://example.com:8443/a%20b"},
		{"http://localhost", "http://localhost", "", "http://localhost"},
	} {
		client, err := replica.NewFromURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		c := client.(*https.ReplicaClient)
		if c.URL != tt.address || c.Username != tt.user || c.ReplicaIdentity() != tt.identity {
			t.Errorf("%s: %s, user %s, identity %s", tt.url, c.URL, c.Username, c.ReplicaIdentity())
		}
	}
	for url, want := range map[string]string{
		"https:secret":            "no host",
		"https:///secret":         "no host",
		"https://h/a?secret=x":    "",
		"https://h/a?endpoint=x":  `unknown parameter "endpoint"`,
		"https://u:secret@:443/a": "no host",
	} {
		client, err := replica.NewFromURL(url)
		if err == nil || client != nil || !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v, want one with %q", url, err, want)
		}
	}
}

// FuzzNewReplicaClientFromURL checks that every URL gives a client with an identity, or
// an error.
func FuzzNewReplicaClientFromURL(f *testing.F) {
	f.Add("https", "example.com", "/a", "", "u")
	f.Fuzz(func(t *testing.T, scheme, host, urlPath, rawQuery, user string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		client, err := https.NewReplicaClientFromURL(scheme, host, urlPath, query, url.User(user))
		switch {
		case (err == nil) == (client == nil):
			t.Fatalf("client %v, error %v", client, err)
		case err != nil && !errors.Is(err, fs.ErrInvalid):
			t.Fatal(err)
		case err == nil && client.(*https.ReplicaClient).ReplicaIdentity() == "":
			t.Errorf("%q %q %q: no identity", scheme, host, urlPath)
		}
	})
}
