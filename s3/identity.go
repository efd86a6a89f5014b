package s3

import (
	"cmp"
	"os"
	"strings"
)

// ReplicaIdentity implements replica.Identifier. The identity consists of
// bucket and path, and of the endpoint if that is not AWS, as the fields and
// environment variables have it. Region and credentials are not part of it.
func (c *ReplicaClient) ReplicaIdentity() string {
	id := "s3://" + c.Bucket + "/" + c.Path
	address := cmp.Or(c.Endpoint, os.Getenv("LITESTREAM_S3_ENDPOINT"), os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	ep, err := newEndpoint(address)
	if err != nil || ep.url == "" {
		return id
	}
	_, hostPath, _ := strings.Cut(ep.url, "://")
	return id + "?endpoint=" + hostPath
}
