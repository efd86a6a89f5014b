package abs_test

import (
	"net/http"
	"testing"

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
