package replica_test

import (
	"context"
	"fmt"
	"net/url"

	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// A store registers its URL scheme, so that a replica can be configured by URL.
func ExampleRegister() {
	replica.Register("mem", func(_, _, _ string, _ url.Values, _ *url.Userinfo) (replica.Client, error) {
		return memory.NewReplicaClient(), nil
	})

	client, err := replica.NewFromURL("mem:app.db")
	if err != nil {
		fmt.Println(err)
		return
	}
	files, err := client.LTXFiles(context.Background(), replica.SnapshotLevel, 0, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer files.Close()
	fmt.Println("has a snapshot:", files.Next())
	// Output: has a snapshot: false
}
