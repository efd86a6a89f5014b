package s3

import (
	"context"
	"fmt"
)

// Init implements replica.Initializer. It reads the environment and the AWS
// configuration files, and asks AWS for the region of the bucket if that is not
// known. It sends no other requests. Concurrent callers share one attempt.
// Calling Init is optional, because every method connects.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// connect returns the connection, and makes it at the first call.
func (c *ReplicaClient) connect(ctx context.Context) (*conn, error) {
	made, err := c.conn.Get(ctx, c.newConn)
	if err != nil {
		return nil, fmt.Errorf("init s3 client: %w", err)
	}
	return made, nil
}
