package litestream_test

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/killtest"
)

var kills = flag.Int("kills", 150, "how often TestPromise5_Kill kills a process")

// TestPromise5_Kill kills processes that write, at random moments, while storage
// fails now and then.
func TestPromise5_Kill(t *testing.T) {
	dir := t.TempDir()
	killtest.Run(t, dir, *kills, func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "restored.db")
		restore(t, file.NewReplicaClient(dir), path)
		return path
	})
}
