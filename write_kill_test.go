package litestream_test

import (
	"cmp"
	"flag"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/killtest"
	"github.com/ltxvfs/litestream/internal/testscale"
)

var kills = flag.Int("kills", 0, "how often TestPromise5_Kill kills a process; 0: 120, or 15 with -short")

// TestPromise5_Kill kills writing processes at random moments, while storage
// fails now and then.
func TestPromise5_Kill(t *testing.T) {
	testscale.NeedsNoRace(t, "it is about what killed processes leave")
	t.Parallel()
	dir := t.TempDir()
	killtest.Run(t, dir, cmp.Or(*kills, testscale.Repeats(120)), func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "restored.db")
		restore(t, file.NewReplicaClient(dir), path)
		return path
	})
}
