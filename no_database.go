package litestream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/survey"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/write"
)

// vacancy is what may become of a place without LTX files.
type vacancy int

const (
	placeTaken vacancy = iota // something else lies there: a replica of another kind, a part of a replica, a database
	placeOdd                  // write mode may begin a new database, but no primary writes to such a place
	placeFree                 // write mode may begin a new database, or a primary may do so
)

// openEmpty opens a replica without LTX files: write mode begins a new database, and
// other opens wait for the first files.
func (db *database) openEmpty(ctx context.Context) (newest, error) {
	// An open of a URL names the place already.
	named := db.opts.replicaURL != "" && db.name == shownURL(db.opts.replicaURL)
	where := identityOf(db.store.Client, db.opts.replicaURL)
	place, reason := lookAround(ctx, db.store, where, named)
	if where != "" && !named {
		reason = &placedError{place: where, err: reason, said: true}
	}
	switch {
	case place != placeTaken && db.opts.WriteEnabled:
		return db.beginNew(ctx)
	case place == placeFree && db.opts.WaitForReplica >= 0:
		return db.awaitFirst(ctx, reason)
	}
	return newest{}, reason
}

// beginNew returns the empty view of a new database, which the first commit
// creates.
func (db *database) beginNew(ctx context.Context) (newest, error) {
	err := write.ConfirmEmpty(ctx, db.store)
	if !errors.Is(err, write.ErrWrongListing) {
		return newest{view: new(view.View)}, err
	}
	n, again := db.buildNewest(ctx)
	if errors.Is(again, ErrNoDatabase) {
		return n, err
	}
	return n, again
}

// The time between two looks for the first files doubles from firstLook to
// lastLook.
const (
	firstLook = 100 * time.Millisecond
	lastLook  = time.Second
)

// awaitFirst waits for the first files of a replica, as long as WaitForReplica and
// ctx allow and a connection waits for the database. reason says what lies at the
// place now.
func (db *database) awaitFirst(ctx context.Context, reason error) (newest, error) {
	limit := db.opts.WaitForReplica
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	limit = max(limit, 0).Round(time.Millisecond)
	db.opening.waits(reason, limit.String())
	waiting, cancel := context.WithTimeoutCause(ctx, limit, errNoFiles)
	defer cancel()
	waiting, abandon := context.WithCancelCause(waiting)
	defer abandon(nil)
	defer context.AfterFunc(db.opening.wanted, func() { abandon(errAbandoned) })()
	for delay := firstLook; ; delay = min(2*delay, lastLook) {
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-waiting.Done():
			timer.Stop()
		}
		if waiting.Err() != nil {
			return newest{}, whyEmpty(context.Cause(waiting), reason, limit)
		}
		switch begun, err := db.store.HasBegun(waiting); {
		case err != nil && waiting.Err() != nil:
			return newest{}, db.opening.because(whyEmpty(context.Cause(waiting), reason, limit))
		case err != nil:
			return newest{}, err
		case !begun:
			db.opening.goesOn(reason)
			continue
		}
		if n, err := db.buildNewest(ctx); !errors.Is(err, ErrNoDatabase) {
			return n, err
		}
	}
}

// errNoFiles means that a wait for the first files of a replica was too long.
var errNoFiles = errors.New("no files came")

// whyEmpty returns the error of an open that has waited in vain for first files.
func whyEmpty(cause, reason error, limit time.Duration) error {
	if errors.Is(cause, errNoFiles) || errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("%w, and no files came within %s", reason, limit)
	}
	return fmt.Errorf("%w: %w", cause, reason)
}

// lookAround finds out what lies at a place without LTX files. The error says it,
// and wraps ErrNoDatabase. With named, the text around the error names the place
// already. If the client cannot list what lies there, or must not, that counts as
// nothing.
func lookAround(ctx context.Context, store *remote.Store, where string, named bool) (vacancy, error) {
	if where == "" {
		where = "the place of the replica"
	}
	subject := where
	if named {
		subject = "it"
	}
	place, err := surveyPlace(ctx, store)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return placeFree, fmt.Errorf("%w: %s has no LTX files", ErrNoDatabase, subject)
	case err != nil:
		unknown := fmt.Errorf("%w: %s has no LTX files, and what else lies there is not known: %w", ErrNoDatabase, subject, err)
		if errs.IsPermanent(err) {
			return placeFree, unknown
		}
		return placeTaken, unknown
	}
	kind, text := survey.Describe(where, named, place)
	err = fmt.Errorf("%w: %s", ErrNoDatabase, text)
	switch {
	case kind.IsTaken():
		return placeTaken, err
	case kind == survey.File:
		return placeOdd, err
	}
	return placeFree, err
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
