package abs

// SetPageSize sets how many blobs a page of a listing has. Call it before any
// other method.
func (c *ReplicaClient) SetPageSize(n int32) { c.pageSize = n }
