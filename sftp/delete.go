package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// deletions is the number of deletions that are under way at the same time.
const deletions = 32

// DeleteLTXFiles implements replica.Client. It stops when a file cannot be deleted.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	if err := c.deleteFiles(ctx, a); err != nil {
		return fmt.Errorf("delete ltx files: %w", err)
	}
	return nil
}

func (c *ReplicaClient) deleteFiles(ctx context.Context, a []*ltx.FileInfo) error {
	if err := clientio.CheckInfos(a); err != nil {
		return err
	}
	s, err := c.connect(ctx)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(deletions)
	for _, info := range a {
		key := s.layout.Key(info.Level, info.MinTXID, info.MaxTXID)
		group.Go(func() error {
			_, err := do(groupCtx, s, func(l *link) (struct{}, error) { return struct{}{}, l.client.Remove(key) }, nil)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return unexpected(key, err)
			}
			return nil
		})
	}
	return clientio.WithCause(ctx, group.Wait())
}
