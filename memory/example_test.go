package memory_test

import (
	"bytes"
	"context"
	"fmt"

	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replicatest"
)

func Example() {
	ctx := context.Background()
	client := memory.NewReplicaClient()

	body, err := replicatest.FileSpec{MinTXID: 1, MaxTXID: 1, Pages: 3}.Encode()
	if err != nil {
		panic(err)
	}
	if _, err := client.WriteLTXFile(ctx, 0, 1, 1, bytes.NewReader(body)); err != nil {
		panic(err)
	}

	files, err := client.LTXFiles(ctx, 0, 0, false)
	if err != nil {
		panic(err)
	}
	defer files.Close()
	for files.Next() {
		fmt.Println(files.Item().MinTXID, files.Item().MaxTXID, files.Item().CreatedAt)
	}
	// Output: 0000000000000001 0000000000000001 1970-01-01 00:00:00 +0000 UTC
}
