package storetest

import (
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/memory"
)

// The suite itself is right about a store that never fails.
func TestRunSQL_Memory(t *testing.T) {
	client := memory.NewReplicaClient()
	runSQL(t, client, client, &litestream.Options{})
}
