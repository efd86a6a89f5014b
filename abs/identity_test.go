package abs_test

import (
	"testing"

	"github.com/ltxvfs/litestream/abs"
)

func TestReplicaIdentity(t *testing.T) {
	for want, c := range map[string]*abs.ReplicaClient{
		"abs://account1.blob.core.windows.net/box/p": {AccountName: "account1", Bucket: "box", Path: "p", AccountKey: "secret"},
		"abs://localhost:10000/account/box/":         {Endpoint: "http://LOCALHOST:10000/account/", Bucket: "box", SASToken: "sig=secret"},
		"":                                           {Bucket: "box"},
	} {
		if got := c.ReplicaIdentity(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
