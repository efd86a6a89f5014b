package nats_test

import (
	"flag"
	"testing"

	"github.com/ltxvfs/litestream/internal/killtest"
	"github.com/ltxvfs/litestream/replica"
)

func init() {
	child = func() { killtest.Child(replica.NewFromURL) }
}

var kills = flag.Int("kills", 15, "how often TestKill kills a process")

// TestKill kills processes that write to a real server, at random moments.
func TestKill(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	killtest.Run(t, url+"/"+newBucket(t, url), *kills, nil)
}
