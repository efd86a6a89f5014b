package oss_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/oss"
	"github.com/ltxvfs/litestream/replica"
)

func FuzzListing(f *testing.F) {
	header := http.Header{"X-Oss-Request-Id": {"1"}, "Etag": {`"x"`}, "X-Oss-Meta-Litestream-Timestamp": {"2026-01-02T03:04:05.678Z"}}
	file := func(level int, txid ltx.TXID) string {
		return fmt.Sprintf(`<Contents><Key>r/%04x/%s</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>"x"</ETag><Size>5</Size></Contents>`, level, ltx.FormatFilename(txid, txid))
	}
	storetest.FuzzListing(f, header, func(tr http.RoundTripper) replica.Client {
		c := oss.NewReplicaClient()
		c.AccessKeyID, c.AccessKeySecret, c.Endpoint, c.Bucket, c.Path = "k", "s", "http://oss.example.com", "bucket", "r"
		c.Transport = tr
		return c
	},
		"<ListBucketResult><Name>bucket</Name><Prefix></Prefix><KeyCount>2</KeyCount><IsTruncated>false</IsTruncated>"+file(0, 2)+file(0, 3)+"</ListBucketResult>",
		"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"+file(0, 1)+file(9, 2)+"<Contents><Key>r/0000/x</Key></Contents></ListBucketResult>",
		`<ListBucketResult><EncodingType>url</EncodingType><Prefix>r%2F0000%2F</Prefix><Contents><Key>r%2F0000%2F%30</Key><Size>-1</Size></Contents><IsTruncated>false</IsTruncated></ListBucketResult>`,
	)
}
