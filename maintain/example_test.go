package maintain_test

import (
	"context"
	"fmt"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/maintain"
)

// A damaged file costs some states. The report says which are left.
func ExampleVerify() {
	client := file.NewReplicaClient("../testdata/replicas/compacted")
	report, err := maintain.Verify(context.Background(), client, maintain.VerifyOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range report.Findings {
		fmt.Println(f)
	}
	fmt.Printf("%d of %d states can be restored, %s to %s\n", report.Restorable, report.Moments, report.Oldest, report.Last)
	// Output: 13 of 13 states can be restored, 0000000000000008 to 000000000000001d
}
