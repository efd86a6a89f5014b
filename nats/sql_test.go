package nats_test

import (
	"net/url"
	"path"
	"testing"

	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/nats"
	"github.com/ltxvfs/litestream/replica"
)

func TestSQL(t *testing.T) {
	noEnvironment(t)
	server := testServer(t)
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	sqltest.Run(t, sqltest.Store{Addr: u.Host, NewTCP: func(t testing.TB) func(string) replica.Client {
		bucket := newBucket(t, server)
		return func(addr string) replica.Client {
			c := newClient(t, "nats://"+addr, bucket)
			c.ChunkCacheSize = -1 // without a store, nothing is served
			return c
		}
	}})
}

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	noEnvironment(t)
	server := testServer(t)
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		bucket := newBucket(t, server)
		client := func(at string) *nats.ReplicaClient {
			c := newClient(t, server, bucket)
			c.Path = at
			return c
		}
		store := objectStore(t, server, bucket)
		return sqltest.Root{
			Client: func(at string) replica.Client { return client(at) },
			Put: func(name string, body []byte) {
				if _, err := store.PutBytes(t.Context(), path.Clean(name), body); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
