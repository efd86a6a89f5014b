package maintain

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/ltxvfs/litestream/replica"
)

// ForkOptions are the options of Fork.
type ForkOptions struct {
	Requests

	// At is the state that the new replica begins with. The zero value is the
	// newest one.
	At Moment
}

// Fork begins a replica with a state of another one, by copying the files that make
// the state. A store that is a replica.LTXFileCopier copies large files by itself if
// both replicas are in it: then only the beginning and the end of each are read, and
// damage of its pages is copied. Files that pass through the process are compared
// with their checksums, as by Copy.
//
// Transactions keep their numbers. From then on, each replica has a
// history of its own: Copy from one to the other is ErrConflict once the new one
// was written to.
//
// Fork is fs.ErrExist, and changes nothing, if LTX files are at the place, or
// something else that a replica must not be mixed with. After an error, some of the
// files may be there. They have to be deleted before the next call.
//
// Only one call at a time may begin a replica at a place. Two at the same time can both
// succeed, since each file that one finds there may be the same as its own, and the
// place then has the newer of their states. Import does not allow that.
func Fork(ctx context.Context, from, to replica.Client, opts ForkOptions) (*Copied, error) {
	c := newCopier(from, to, opts.Requests)
	c.inside = true
	result, err := c.fork(ctx, opts.At)
	if err != nil {
		return nil, fmt.Errorf("fork: %w", err)
	}
	return result, nil
}

func (c *copier) fork(ctx context.Context, at Moment) (*Copied, error) {
	files, err := c.from.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, c.from.nothing(ctx)
	}
	plan, err := c.from.plan(ctx, files, at)
	if err != nil {
		return nil, err
	}
	there, err := c.to.list(ctx)
	if err != nil {
		return nil, err
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("%w: the replica has LTX files already", fs.ErrExist)
	}
	if err := c.to.checkVacant(ctx); err != nil {
		return nil, err
	}
	result := &Copied{Newest: plan[len(plan)-1].MaxTXID}
	err = c.copyAll(ctx, plan, result)
	result.Inside = c.byStore.Load()
	return result, err
}
