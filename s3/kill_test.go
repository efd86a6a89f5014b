package s3_test

import (
	"flag"
	"net/url"
	"testing"

	"github.com/ltxvfs/litestream/internal/killtest"
	"github.com/ltxvfs/litestream/replica"
)

func init() {
	child = func() { killtest.Child(replica.NewFromURL) }
}

var kills = flag.Int("kills", 30, "how often TestKill kills a process")

// TestKill kills processes that write to a real server, at random moments.
func TestKill(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", s.key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.secret)
	u := url.URL{Scheme: "s3", Host: s.bucket, Path: newPath(), RawQuery: url.Values{"endpoint": {s.endpoint}, "region": {"us-east-1"}}.Encode()}
	killtest.Run(t, u.String(), *kills, nil)
}
