package file

import "os"

// SetSync replaces what flushes files and folders to disk.
func (c *ReplicaClient) SetSync(sync func(*os.File) error) { c.sync = sync }
