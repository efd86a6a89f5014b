package abs

// SetPageSize sets how many blobs a page of a listing has. Call it before any
// other method.
func (c *ReplicaClient) SetPageSize(n int32) { c.pageSize = n }

// RetryPartsAtOnce has blocks sent again without waiting, until the function that
// it returns is called.
func RetryPartsAtOnce() (undo func()) {
	before := partRetry
	partRetry.RetryDelay, partRetry.MaxRetryDelay = 1, 1
	return func() { partRetry = before }
}
