package sftp_test

import (
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/sftp"
)

func TestNewReplicaClientFromURL(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGyXXZwoFEl0K+nKqdN3cJkrDNcTBpDdMnI3wZ+ULRyT"
	for _, tt := range []struct{ url, host, user, password, path, identity string }{
		{"sftp://u@h/a/b", "h", "u", "", "/a/b", "sftp://h/a/b"},
		{"sftp://u:p%40@H:22/a//b/", "H:22", "u", "p@", "/a/b", "sftp://h/a/b"},
		{"sftp://u@h:2222/~/b", "h:2222", "u", "", "b", "sftp://u@h:2222/~/b"},
		{"sftp://u@h/~", "h", "u", "", ".", "sftp://u@h/~"},
		{"sftp://u@[::1]/a", "[::1]", "u", "", "/a", "sftp://[::1]/a"},
		{"sftp://u@[::1]:23/a", "[::1]:23", "u", "", "/a", "sftp://[::1]:23/a"},
		{"sftp://u@h/", "h", "u", "", "/", "sftp://h/"},
		{"sftp://u@h/a?host-key=" + url.QueryEscape(key) + "&key-path=/k&known-hosts=/n&connections=2&insecure-skip-host-key=no", "h", "u", "", "/a", "sftp://h/a"},
		{"sftp://u@h/a?host-key=SHA256:9VyMYFbCUAeNzq9Pbx0i5RdT8TsBsWKqPYCO2dBKBmA", "h", "u", "", "/a", "sftp://h/a"},
	} {
		client, err := replica.NewFromURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		c := client.(*sftp.ReplicaClient)
		if c.Host != tt.host || c.User != tt.user || c.Password != tt.password || c.Path != tt.path {
			t.Errorf("%s: host %s, user %s, password %s, path %s", tt.url, c.Host, c.User, c.Password, c.Path)
		}
		if got := c.ReplicaIdentity(); got != tt.identity {
			t.Errorf("%s: identity %s, want %s", tt.url, got, tt.identity)
		}
		if strings.Contains(tt.url, "host-key=ssh") && (c.HostKey != key || c.KeyPath != "/k" || c.KnownHosts != "/n" || c.Connections != 2 || c.InsecureSkipHostKey) {
			t.Errorf("%s: parameters %q, %q, %q, %d, %v", tt.url, c.HostKey, c.KeyPath, c.KnownHosts, c.Connections, c.InsecureSkipHostKey)
		}
	}
}

func TestNewReplicaClientFromURL_Errors(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"sftp://h/a", "no user"},
		{"sftp:a", "no host"},
		{"sftp://u:secret@/a", "no host"},
		{"sftp://u@h", "no path"},
		{"sftp://u@h:0/a", "port"},
		{"sftp://u@h:99999/a", "port"},
		{"sftp://u@h/a?hostkey=secret", `unknown parameter "hostkey", did you mean "host-key"?`},
		{"sftp://u@h/a?host-key=secret", "host key is neither"},
		{"sftp://u@h/a?host-key=SHA256:secret", "host key is no fingerprint"},
		{"sftp://u@h/a?connections=secret", `"connections"`},
		{"sftp://u@h/a?connections=65", "between 1 and 64"},
		{"sftp://u@h/a?insecure-skip-host-key=secret", `"insecure-skip-host-key"`},
		{"sftp://u@h/a?key-path=a&key-path=b", "needs one value"},
	} {
		client, err := replica.NewFromURL(tt.url)
		if err == nil || client != nil || !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got error %v, want one with %q", tt.url, err, tt.want)
		}
	}
}

// FuzzNewReplicaClientFromURL checks that every URL gives a client with an identity,
// or an error.
func FuzzNewReplicaClientFromURL(f *testing.F) {
	f.Add("h:22", "/~/a", "host-key=SHA256:x&connections=3", "u")
	f.Add("[::1]", "..", "key-path=x", "u")
	f.Fuzz(func(t *testing.T, host, urlPath, rawQuery, user string) {
		query, err := url.ParseQuery(rawQuery)
		if err != nil {
			return
		}
		client, err := sftp.NewReplicaClientFromURL("sftp", host, urlPath, query, url.User(user))
		if (err == nil) == (client == nil) {
			t.Fatalf("client %v, error %v", client, err)
		}
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if client.(*sftp.ReplicaClient).ReplicaIdentity() == "" {
			t.Errorf("%q %q: no identity", host, urlPath)
		}
	})
}
