package s3

import (
	"context"
	"errors"
	"fmt"
)

// attempt is a call of Init that others wait for.
type attempt struct {
	done chan struct{} // closed when err is set
	err  error
}

// Init implements replica.Initializer. It reads the environment and the
// AWS configuration files, and asks AWS for the bucket's region where that is
// not known; nothing else goes over the network. Concurrent callers wait for
// one attempt. Calling it is optional.
func (c *ReplicaClient) Init(ctx context.Context) error {
	_, err := c.connect(ctx)
	return err
}

// connect returns what Init makes.
func (c *ReplicaClient) connect(ctx context.Context) (*conn, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("init s3 client: %w", err)
		}
		c.mu.Lock()
		conn, a, mine := c.conn, c.attempt, false
		if conn == nil && a == nil {
			a, mine = &attempt{done: make(chan struct{})}, true
			c.attempt = a
		}
		c.mu.Unlock()
		switch {
		case conn != nil:
			return conn, nil
		case mine:
			return c.lead(ctx, a)
		}
		select {
		case <-a.done:
		case <-ctx.Done():
			continue
		}
		// That its caller gave up says nothing about us.
		if a.err != nil && !errors.Is(a.err, context.Canceled) && !errors.Is(a.err, context.DeadlineExceeded) {
			return nil, a.err
		}
	}
}

// lead makes an attempt.
func (c *ReplicaClient) lead(ctx context.Context, a *attempt) (made *conn, err error) {
	a.err = errors.New("init s3 client: panicked") // unless it returns
	defer func() {
		c.mu.Lock()
		c.conn, c.attempt = made, nil
		c.mu.Unlock()
		close(a.done)
	}()
	made, err = c.newConn(ctx)
	if err != nil {
		made, err = nil, fmt.Errorf("init s3 client: %w", err)
	}
	a.err = err
	return made, err
}
