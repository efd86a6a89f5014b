package gs_test

import (
	"testing"

	"github.com/ltxvfs/litestream/gs"
)

func TestReplicaIdentity(t *testing.T) {
	t.Setenv("STORAGE_EMULATOR_HOST", "")
	client := gs.NewReplicaClient()
	client.Bucket, client.Path = "b", "p/q"
	for endpoint, want := range map[string]string{
		"":                                "gs://b/p/q",
		"https://Private.Example/storage": "gs://b/p/q?endpoint=private.example",
	} {
		client.Endpoint = endpoint
		if got := client.ReplicaIdentity(); got != want {
			t.Errorf("endpoint %q: got %s, want %s", endpoint, got, want)
		}
	}
	client.Endpoint = ""
	t.Setenv("STORAGE_EMULATOR_HOST", "localhost:4443")
	if got := client.ReplicaIdentity(); got != "gs://b/p/q?endpoint=localhost:4443" {
		t.Errorf("with an emulator: %s", got)
	}
}
