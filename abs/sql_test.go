package abs_test

import (
	"net/http"
	"testing"

	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/replica"
)

func TestSQL(t *testing.T) {
	sqltest.Run(t, sqltest.Store{
		Addr: server(t).Host,
		NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
			bucket := bucketOf(t, newContainer(t))
			return func(rt http.RoundTripper) replica.Client {
				c := keyClient(t, bucket)
				c.Transport = rt
				return c
			}
		},
	})
}

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	server(t)
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		bucket := bucketOf(t, newContainer(t))
		client := func(at string) *abs.ReplicaClient {
			c := keyClient(t, bucket)
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
	server(b)
	bucket := bucketOf(b, newContainer(b))
	sqltest.Scan(b, keyClient(b, bucket), func() replica.Client { return keyClient(b, bucket) })
}
