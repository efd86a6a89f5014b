package s3

import (
	"context"
	"fmt"
)

// Init implements replica.Initializer. It reads the environment and the
// AWS configuration files, and asks AWS for the bucket's region where that is
// not known; nothing else goes over the network. Concurrent callers wait for
// one attempt. Calling it is optional.
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
