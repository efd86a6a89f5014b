package nats_test

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/nats"
	"github.com/ltxvfs/litestream/replica"
)

func TestURL(t *testing.T) {
	for _, tt := range []struct {
		url      string
		want     func(*nats.ReplicaClient)
		identity string
	}{
		{"nats://host/bucket", func(c *nats.ReplicaClient) { c.URL = "nats://host" }, "nats://host:4222/bucket"},
		{"nats:///bucket", func(*nats.ReplicaClient) {}, "nats://127.0.0.1:4222/bucket"},
		{"nats://HOST:4223/bucket/", func(c *nats.ReplicaClient) { c.URL = "nats://HOST:4223" }, "nats://host:4223/bucket"},
		{"nats://[::1]:4223/bucket/a/b.db", func(c *nats.ReplicaClient) { c.URL, c.Path = "nats://[::1]:4223", "a/b.db" }, "nats://[::1]:4223/bucket/a/b.db"},
		{"nats://user:p%40ss@host/bucket", func(c *nats.ReplicaClient) { c.URL, c.Username, c.Password = "nats://host", "user", "p@ss" }, "nats://host:4222/bucket"},
		{"nats://token@host/bucket", func(c *nats.ReplicaClient) { c.URL, c.Token = "nats://host", "token" }, "nats://host:4222/bucket"},
		{"nats://host/bucket?tls=yes&root-cas=a.pem,b.pem&client-cert=c.pem&client-key=k.pem", func(c *nats.ReplicaClient) {
			c.URL, c.TLS, c.RootCAs, c.ClientCert, c.ClientKey = "nats://host", true, []string{"a.pem", "b.pem"}, "c.pem", "k.pem"
		}, "nats://host:4222/bucket"},
		{"nats://host/bucket?creds=/a/user.creds&timeout=2s&reconnect-wait=1s&chunk-size=16KiB", func(c *nats.ReplicaClient) {
			c.URL, c.Creds, c.Timeout, c.ReconnectWait, c.ChunkSize = "nats://host", "/a/user.creds", 2*time.Second, time.Second, 16<<10
		}, "nats://host:4222/bucket"},
		{"nats://host/bucket?nkey=seed.nk", func(c *nats.ReplicaClient) { c.URL, c.NKeyFile = "nats://host", "seed.nk" }, "nats://host:4222/bucket"},
	} {
		got, err := replica.NewFromURL(tt.url)
		if err != nil {
			t.Errorf("%s: %v", tt.url, err)
			continue
		}
		want := nats.NewReplicaClient()
		want.BucketName = "bucket"
		tt.want(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v", tt.url, got)
		}
		if id := got.(replica.Identifier).ReplicaIdentity(); id != tt.identity {
			t.Errorf("%s: identity is %s, want %s", tt.url, id, tt.identity)
		}
	}
	for _, tt := range [][2]string{
		{"nats://host", "no bucket"},
		{"nats://host/", "no bucket"},
		{"nats://host/buck.et", "no bucket"},
		{"nats://host:port/bucket", "malformed"},
		{"nats://a,b:4222/bucket", "host of the url"},
		{"nats://user:@host/bucket", "empty"},
		{"nats://:" + secret + "@host/bucket", "empty"},
		{"nats://host/bucket?tls=maybe", `"tls" is not true or false`},
		{"nats://host/bucket?timeout=" + secret, `"timeout" is not a duration`},
		{"nats://host/bucket?timeout=-1s", `"timeout" is not a duration`},
		{"nats://host/bucket?reconnect-wait=x", `"reconnect-wait" is not a duration`},
		{"nats://host/bucket?chunk-size=1", `"chunk-size" is not a size`},
		{"nats://host/bucket?client-cert=a", "only one is set"},
		{"nats://host/bucket?cred=a", `unknown parameter "cred", did you mean "creds"?`},
		{"nats://host/bucket?tls=1&tls=1", `"tls" needs one value`},
		{"nats://host/bucket?tls=", `"tls" needs one value`},
	} {
		_, err := replica.NewFromURL(tt[0])
		if err == nil || !strings.Contains(err.Error(), tt[1]) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: got error %v, want %q", tt[0], err, tt[1])
		} else if tt[1] != "malformed" && !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v is not fs.ErrInvalid", tt[0], err)
		}
	}
	several := nats.NewReplicaClient()
	several.URL, several.BucketName = "b:1, nats://A,nats://b:1", "bucket"
	if id := several.ReplicaIdentity(); id != "nats://a:4222,b:1/bucket" {
		t.Errorf("with several servers, the identity is %s", id)
	}
	if id := nats.NewReplicaClient().ReplicaIdentity(); id != "" {
		t.Errorf("without a bucket, the identity is %q", id)
	}
}
