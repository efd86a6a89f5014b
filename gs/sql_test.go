package gs_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/replica"
)

func TestSQL(t *testing.T) {
	sqltest.Run(t, sqltest.Store{
		Addr: strings.TrimPrefix(emulator(t), "http://"),
		NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
			bucket := newBucket(t).BucketName()
			return func(tr http.RoundTripper) replica.Client {
				c := newClient(t, bucket)
				c.Transport = tr
				return c
			}
		},
	})
}

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		bucket := newBucket(t).BucketName()
		client := func(at string) *gs.ReplicaClient {
			c := newClient(t, bucket)
			c.Path = at
			return c
		}
		return sqltest.Root{
			Client: func(at string) replica.Client { return client(at) },
			Put:    func(name string, body []byte) { place(t, client(""), name, body) },
		}
	})
}

func BenchmarkScan(b *testing.B) {
	bucket := newBucket(b).BucketName()
	sqltest.Scan(b, newClient(b, bucket), func() replica.Client { return newClient(b, bucket) })
}
