package litestream

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/survey"
)

// lookAround finds out what lies at a place without LTX files. The error says it,
// and wraps ErrNoDatabase. mayBegin reports whether write mode may begin a new
// database there: nothing that lies there is another kind of replica, a part of a
// replica, a parent of replicas or a database. If the client cannot list what lies
// there, or must not, that counts as nothing.
func lookAround(ctx context.Context, store *remote.Store, where string) (mayBegin bool, err error) {
	if where == "" {
		where = "the place of the replica"
	}
	place, err := surveyPlace(ctx, store)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return true, fmt.Errorf("%w: %s has no LTX files", ErrNoDatabase, where)
	case err != nil:
		err = fmt.Errorf("%w: %s has no LTX files, and what else lies there is not known: %w", ErrNoDatabase, where, err)
		return errs.IsPermanent(err), err
	}
	kind, text := survey.Describe(where, place)
	return !kind.IsTaken(), fmt.Errorf("%w: %s", ErrNoDatabase, text)
}

// surveyPlace lists what lies at the place of a replica and then, at the same time,
// what lies in folders there.
func surveyPlace(ctx context.Context, store *remote.Store) (place survey.Place, err error) {
	if place.Survey, err = store.Survey(ctx, ""); err != nil {
		return place, err
	}
	folders := survey.Folders(place.Survey)
	names := make([][]string, len(folders))
	g, ctx := errgroup.WithContext(ctx)
	for i, folder := range folders {
		g.Go(func() error {
			at, err := store.Survey(ctx, folder)
			if err != nil && errs.IsPermanent(err) && ctx.Err() == nil {
				return nil // a folder that must not be listed is not known
			}
			names[i] = at.Names
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return place, err
	}
	place.Folders = make(map[string][]string, len(folders))
	for i, folder := range folders {
		place.Folders[folder] = names[i]
	}
	return place, nil
}
