//go:build unix

package litestream_test

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/killtest"
	"github.com/ltxvfs/litestream/internal/testscale"
)

var (
	shareKills = flag.Int("sharekills", 0, "how often TestPromise12_Kill kills a process that shares a local file; 0: 24, or 3 with -short")
	shareStops = flag.Int("sharestops", 1, "how often TestPromise12_Kill stops the owner of the local file for longer than it may be")
)

// TestPromise12_Kill kills processes that share a local file at random moments,
// mostly the one that owns it, and stops that one for long.
func TestPromise12_Kill(t *testing.T) {
	testscale.NeedsNoRace(t, "it is about what killed processes leave")
	t.Parallel()
	store := t.TempDir()
	kills := *shareKills
	if kills == 0 {
		kills = testscale.Repeats(24)
	}
	killtest.RunShare(t, store, filepath.Join(t.TempDir(), "local.db"), file.NewReplicaClient(store), kills, *shareStops)
}

// TestShare_Apart shares a file among processes that see its folder by different
// paths, one of them like in a container.
func TestShare_Apart(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	killtest.RunApart(t, store, t.TempDir(), file.NewReplicaClient(store))
}
