package clientio

import (
	"context"
	"fmt"

	"github.com/superfly/ltx"
	"golang.org/x/sync/errgroup"
)

// Each calls fn for the numbers from 0 to n-1, up to limit of them at the same time.
// After a failure it begins no other call, and returns the error of the first one.
func Each(ctx context.Context, n, limit int, fn func(ctx context.Context, i int) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for i := range n {
		group.Go(func() error {
			if err := groupCtx.Err(); err != nil {
				return err // another call has failed
			}
			return fn(groupCtx, i)
		})
	}
	return WithCause(ctx, group.Wait())
}

// Complete calls fn for each object of a page of a listing, up to limit of them at the
// same time, to set what the listing does not tell. It leaves out the objects that fn
// finds to be gone.
func Complete(ctx context.Context, page []Object, limit int, fn func(ctx context.Context, o *Object) (exists bool, err error)) ([]Object, error) {
	gone := make([]bool, len(page))
	err := Each(ctx, len(page), limit, func(ctx context.Context, i int) error {
		exists, err := fn(ctx, &page[i])
		gone[i] = !exists
		return err
	})
	if err != nil {
		return nil, err
	}
	kept := page[:0]
	for i, o := range page {
		if !gone[i] {
			kept = append(kept, o)
		}
	}
	return kept, nil
}

// Delete does what DeleteLTXFiles does around deleting files one by one: it checks the
// infos, connects, and has remove delete the files, up to limit of them at the same
// time. It stops after a failure. S is the connection.
func Delete[S any](ctx context.Context, a []*ltx.FileInfo, limit int, connect func(context.Context) (S, error), remove func(S, context.Context, File) error) error {
	err := CheckInfos(a)
	var s S
	if err == nil {
		s, err = connect(ctx)
	}
	if err == nil {
		err = Each(ctx, len(a), limit, func(ctx context.Context, i int) error {
			f := NewFile(a[i].Level, a[i].MinTXID, a[i].MaxTXID)
			if err := remove(s, ctx, f); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("delete ltx files: %w", err)
	}
	return nil
}
