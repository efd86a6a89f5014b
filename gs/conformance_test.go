package gs_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"

	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

// emulator returns the URL of the test server.
func emulator(t testing.TB) string {
	t.Helper()
	return storetest.Server(t, "LITESTREAM_TEST_GCS").String()
}

var buckets atomic.Int64

// newBucket makes a bucket, and returns a handle with which to look into it.
func newBucket(t testing.TB) *storage.BucketHandle {
	t.Helper()
	tr := clientio.NewTransport(nil)
	t.Cleanup(tr.CloseIdleConnections)
	client, err := storage.NewClient(t.Context(), option.WithEndpoint(emulator(t)+"/storage/v1/"), option.WithHTTPClient(&http.Client{Transport: tr}), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	bucket := client.Bucket(fmt.Sprintf("test-%d-%d", time.Now().UnixNano(), buckets.Add(1)))
	if err := bucket.Create(t.Context(), "project", nil); err != nil {
		t.Fatal(err)
	}
	return bucket
}

// newClient returns a client of the replica "some/path" in a bucket.
func newClient(t testing.TB, bucket string) *gs.ReplicaClient {
	t.Helper()
	c := gs.NewReplicaClient()
	c.Bucket, c.Path, c.Endpoint = bucket, "some/path", emulator(t)
	t.Cleanup(func() { c.Close() })
	return c
}

func properties() replicatest.Properties {
	return replicatest.Properties{
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			client := c.(*gs.ReplicaClient)
			place(t, client, fmt.Sprintf("%s/ltx/%d/%s", client.Path, level, name), body)
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			client := c.(*gs.ReplicaClient)
			place(t, client, path.Join(client.Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			client := newClient(t, c.(*gs.ReplicaClient).Bucket)
			client.PartSize = c.(*gs.ReplicaClient).PartSize
			return client
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			client := c.(*gs.ReplicaClient)
			d, err := replica.NewFromURL("gs://" + client.Bucket + "/" + client.Path + below + "?endpoint=" + url.QueryEscape(client.Endpoint))
			if err != nil {
				t.Fatal(err)
			}
			d.(*gs.ReplicaClient).PartSize = client.PartSize
			t.Cleanup(func() { d.(*gs.ReplicaClient).Close() })
			return d
		},
	}
}

// place stores an object without metadata, as a tool that copies would.
func place(t testing.TB, c *gs.ReplicaClient, key string, body []byte) {
	t.Helper()
	client, err := storage.NewClient(t.Context(), option.WithEndpoint(emulator(t)+"/storage/v1/"), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	w := client.Bucket(c.Bucket).Object(key).NewWriter(t.Context())
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	emulator(t)
	replicatest.Run(t, func(t *testing.T) replica.Client {
		return newClient(t, newBucket(t).BucketName())
	}, properties())
}

// The same with every file that has more than a header in parts.
func TestConformance_Parts(t *testing.T) {
	emulator(t)
	props := properties()
	props.LargeBody = 1 << 20
	props.ManyFiles = -1
	replicatest.Run(t, func(t *testing.T) replica.Client {
		c := newClient(t, newBucket(t).BucketName())
		c.PartSize = 200
		return c
	}, props)
}
