package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/webindex"
	"github.com/ltxvfs/litestream/replica"
)

var _ replica.IndexWriter = (*ReplicaClient)(nil)

// indexMode is the mode of index.json, unless FileMode is set. It has nothing of the
// database, and is for a web server to read.
const indexMode fs.FileMode = 0o644

// WriteIndex implements replica.IndexWriter.
func (c *ReplicaClient) WriteIndex(ctx context.Context, index []byte) error {
	_, err := c.ready(ctx)
	if err == nil {
		err = c.writeIndex(index)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", webindex.Name, classify(err))
	}
	return nil
}

func (c *ReplicaClient) writeIndex(index []byte) error {
	f, err := os.CreateTemp(c.dir, ".*.tmp")
	if errors.Is(err, fs.ErrNotExist) {
		return clientio.Permanent(errors.New("the folder of the replica does not exist"))
	} else if err != nil {
		return err
	}
	_, err = f.Write(index)
	if err == nil {
		err = f.Chmod(cmp.Or(c.FileMode, indexMode))
	}
	if err == nil {
		err = c.sync(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(c.dir, webindex.Name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return c.syncDir(c.dir)
}
