package sftp

import (
	"context"
	"errors"
	"io/fs"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// deletions is the number of deletions that are under way at the same time.
const deletions = 32

// DeleteLTXFiles implements replica.Client. It stops when a file cannot be deleted.
func (c *ReplicaClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	return clientio.Delete(ctx, a, deletions, c.connect, (*session).delete)
}

// delete deletes a file, if there is one.
func (s *session) delete(ctx context.Context, file clientio.File) error {
	key := s.layout.Key(file.Level, file.MinTXID, file.MaxTXID)
	_, err := do(ctx, s, func(l *link) (struct{}, error) { return struct{}{}, l.client.Remove(key) }, nil)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unexpected(key, err)
	}
	return nil
}
