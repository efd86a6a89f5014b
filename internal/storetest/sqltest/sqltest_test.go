package sqltest

import (
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/memory"
)

// The suite passes with a store that never fails.
func TestRun_Memory(t *testing.T) {
	client := memory.NewReplicaClient()
	run(t, client, register(t, client, &litestream.Options{}))
}
