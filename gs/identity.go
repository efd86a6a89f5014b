package gs

import "strings"

// ReplicaIdentity implements replica.Identifier. The identity consists of
// bucket and path, and of the endpoint if that is not Google's. Credentials are
// not part of it.
func (c *ReplicaClient) ReplicaIdentity() string {
	id := "gs://" + c.Bucket + "/" + c.Path
	api, _, err := resolveEndpoint(c.Endpoint)
	if err != nil || api == "" {
		return id
	}
	_, host, _ := strings.Cut(api, "://")
	host, _, _ = strings.Cut(host, "/")
	return id + "?endpoint=" + strings.ToLower(host)
}
