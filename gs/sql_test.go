package gs_test

import (
	"net/http"
	"strings"
	"testing"

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
