package nats

import (
	"slices"
	"strings"
)

// ReplicaIdentity implements replica.Identifier. The identity consists of the
// servers, the bucket and the path. Credentials are not part of it.
func (c *ReplicaClient) ReplicaIdentity() string {
	addresses, err := servers(c.URL)
	if err != nil || c.BucketName == "" {
		return ""
	}
	for i, address := range addresses {
		addresses[i] = strings.TrimPrefix(address, "nats://")
	}
	slices.Sort(addresses)
	id := "nats://" + strings.Join(slices.Compact(addresses), ",") + "/" + c.BucketName
	if c.Path != "" {
		id += "/" + c.Path
	}
	return id
}
