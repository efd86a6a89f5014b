package file

import "path/filepath"

// ReplicaIdentity implements replica.Identifier: it is the absolute
// path of the folder as a URL.
func (c *ReplicaClient) ReplicaIdentity() string {
	if !filepath.IsAbs(c.dir) {
		return "" // the folder of the process is not known
	}
	return "file://" + filepath.ToSlash(c.dir)
}
