package abs

import "strings"

// ReplicaIdentity implements replica.Identifier. The identity consists of the
// host and path of the account, the container and the path. Credentials are not
// part of it.
func (c *ReplicaClient) ReplicaIdentity() string {
	account, err := endpointOf(c)
	if err != nil {
		return ""
	}
	return "abs://" + strings.ToLower(account.Host) + strings.TrimSuffix(account.Path, "/") + "/" + c.Bucket + "/" + c.Path
}
