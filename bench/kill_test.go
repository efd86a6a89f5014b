package main

import (
	"flag"
	"os"
	"testing"

	upstreamlib "github.com/benbjohnson/litestream"
	upstreamfile "github.com/benbjohnson/litestream/file"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/killtest"
)

var kills = flag.Int("kills", 20, "how often TestInteropWrite_Kill kills a process")

func TestMain(m *testing.M) {
	killtest.Child(func(store string) (litestream.ReplicaClient, error) { return file.NewReplicaClient(store), nil })
	os.Exit(m.Run())
}

// TestInteropWrite_Kill makes upstream restore replicas that killed processes
// have written.
func TestInteropWrite_Kill(t *testing.T) {
	dir := t.TempDir()
	killtest.Run(t, dir, *kills, func(t *testing.T) string {
		var theirs upstreamlib.ReplicaClient = upstreamfile.NewReplicaClient(dir)
		path, err := restoreAt(t, theirs, 0)
		if err != nil {
			t.Fatal(err)
		}
		return path
	})
}
