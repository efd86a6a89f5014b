package nats_test

import (
	"fmt"
	"path"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/nats"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

// child runs the process that TestKill kills, and does not return in that process.
// It is nil without cgo, where there is no TestKill.
var child func()

func TestMain(m *testing.M) {
	if child != nil {
		child()
	}
	// The library leaves this goroutine behind where a test stores objects with it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// noEnvironment takes away what the machine has set for NATS.
func noEnvironment(t testing.TB) {
	t.Helper()
	for _, name := range []string{"NATS_CREDS", "NATS_NKEY", "NATS_USER", "NATS_PASSWORD", "NATS_TOKEN", "NATS_CA", "NATS_CERT", "NATS_KEY"} {
		t.Setenv(name, "")
	}
}

// testServer returns the URL of the server that the environment names, or skips
// the test.
func testServer(t testing.TB) string {
	t.Helper()
	return storetest.Server(t, "LITESTREAM_TEST_NATS").String()
}

// library returns the library's own use of a server.
func library(t testing.TB, url string, opts ...natsgo.Option) jetstream.JetStream {
	t.Helper()
	nc, err := natsgo.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

var buckets atomic.Int64

// newBucket makes a bucket.
func newBucket(t testing.TB, url string, opts ...natsgo.Option) string {
	t.Helper()
	name := fmt.Sprintf("test-%d-%d", time.Now().UnixNano(), buckets.Add(1))
	if _, err := library(t, url, opts...).CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: name, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	return name
}

// objectStore returns the library's own use of a bucket.
func objectStore(t testing.TB, url, bucket string) jetstream.ObjectStore {
	t.Helper()
	store, err := library(t, url).ObjectStore(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// newClient returns a client of the replica "some/path" in a bucket.
func newClient(t testing.TB, url, bucket string) *nats.ReplicaClient {
	t.Helper()
	c := nats.NewReplicaClient()
	c.URL, c.BucketName, c.Path = url, bucket, "some/path"
	t.Cleanup(func() { c.Close() })
	return c
}

func properties() replicatest.Properties {
	place := func(t *testing.T, c *nats.ReplicaClient, key string, body []byte) {
		if _, err := objectStore(t, c.URL, c.BucketName).PutBytes(t.Context(), key, body); err != nil {
			t.Fatal(err)
		}
	}
	return replicatest.Properties{
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			client := c.(*nats.ReplicaClient)
			place(t, client, fmt.Sprintf("%s/ltx/%d/%s", client.Path, level, name), body)
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			client := c.(*nats.ReplicaClient)
			place(t, client, path.Join(client.Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			client := newClient(t, c.(*nats.ReplicaClient).URL, c.(*nats.ReplicaClient).BucketName)
			client.ChunkSize = c.(*nats.ReplicaClient).ChunkSize
			return client
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			client := c.(*nats.ReplicaClient)
			d, err := replica.NewFromURL(client.URL + "/" + client.BucketName + "/" + client.Path + below)
			if err != nil {
				t.Fatal(err)
			}
			d.(*nats.ReplicaClient).ChunkSize = client.ChunkSize
			t.Cleanup(func() { d.(*nats.ReplicaClient).Close() })
			return d
		},
	}
}

func TestConformance(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	replicatest.Run(t, func(t *testing.T) replica.Client { return newClient(t, url, newBucket(t, url)) }, properties())
}

// The same with many small chunks.
func TestConformance_Chunks(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	props := properties()
	props.LargeBody, props.ManyFiles = 1<<20, -1
	replicatest.Run(t, func(t *testing.T) replica.Client {
		c := newClient(t, url, newBucket(t, url))
		c.ChunkSize = 4 << 10
		return c
	}, props)
}
