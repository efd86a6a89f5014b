package file_test

import (
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/replica"
)

var _ replica.Identifier = (*file.ReplicaClient)(nil)

func TestReplicaIdentity(t *testing.T) {
	dir := t.TempDir()
	want := file.NewReplicaClient(filepath.Join(dir, "a")).ReplicaIdentity()
	t.Chdir(dir)
	if got := file.NewReplicaClient("./b/../a/").ReplicaIdentity(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := file.NewReplicaClient("b").ReplicaIdentity(); got == want {
		t.Errorf("two folders have the identity %s", got)
	}
}
