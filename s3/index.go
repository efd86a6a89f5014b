package s3

import (
	"bytes"
	"context"
	"fmt"

	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/replica"
)

var _ replica.IndexWriter = (*ReplicaClient)(nil)

// WriteIndex implements replica.IndexWriter.
func (c *ReplicaClient) WriteIndex(ctx context.Context, index []byte) error {
	conn, err := c.connect(ctx)
	if err == nil {
		_, err = (&put{conn: conn, key: conn.layout.Below(webindex.Name)}).store(ctx, bytes.NewReader(index))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", webindex.Name, err)
	}
	return nil
}
