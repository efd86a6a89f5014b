package abs_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/abs"
	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/replica"
)

func FuzzListing(f *testing.F) {
	header := http.Header{"X-Ms-Request-Id": {"1"}, "X-Ms-Version": {"2024-11-04"}, "Content-Type": {"application/xml"}}
	file := func(level int, txid ltx.TXID) string {
		return fmt.Sprintf(`<Blob><Name>r/ltx/%d/%s</Name><Properties><Last-Modified>Fri, 02 Jan 2026 03:04:05 GMT</Last-Modified><Etag>0x8</Etag><Content-Length>5</Content-Length></Properties>`+
			`<Metadata><litestreamtimestamp>2026-01-02T03:04:05.678Z</litestreamtimestamp></Metadata></Blob>`, level, ltx.FormatFilename(txid, txid))
	}
	storetest.FuzzListing(f, header, func(tr http.RoundTripper) replica.Client {
		c := abs.NewReplicaClient()
		c.AccountName, c.AccountKey, c.Endpoint, c.Bucket, c.Path = "a", "a2V5", "http://127.0.0.1:1/a", "bucket", "r"
		c.Transport = tr
		return c
	},
		`<?xml version="1.0"?><EnumerationResults ContainerName="bucket"><Blobs>`+file(0, 2)+file(0, 3)+`</Blobs><NextMarker/></EnumerationResults>`,
		`<EnumerationResults><Prefix></Prefix><Blobs>`+file(0, 1)+file(9, 2)+`<Blob><Name Encoded="true">r%2F</Name></Blob></Blobs><NextMarker>t</NextMarker></EnumerationResults>`,
		`<EnumerationResults><Blobs><Blob><Name>r/ltx/0/0000000000000001-0000000000000001.ltx</Name><Properties><Content-Length>-1</Content-Length></Properties></Blob></Blobs><NextMarker/></EnumerationResults>`,
	)
}
