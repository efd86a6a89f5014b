package maintain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
)

// DefaultWatchInterval is the time between two looks unless Watch.Interval says
// another one. mostBackOff bounds it after errors, unless the interval is longer.
const (
	DefaultWatchInterval = 10 * time.Second
	mostBackOff          = time.Minute
)

// ErrRolledBack means that the replica that Copy watches has lost transactions that
// were copied, or has others in their place. It is the error of package litestream
// with this name. Errors that wrap it wrap ErrConflict as well.
var ErrRolledBack = errs.ErrRolledBack

// Watch says how Copy goes on after it has copied everything.
type Watch struct {
	// Interval is the time between two looks at the source, each of which is a
	// listing. Zero or less means DefaultWatchInterval. After an error it doubles
	// each time, up to a minute.
	Interval time.Duration

	// Copied is called after the first copy, and then each time something was
	// copied. Nil means no calls.
	Copied func(Copied)

	// Failed is called with each error that Copy survives, and with the time until
	// the next attempt. Nil means no calls.
	Failed func(err error, again time.Duration)
}

// watch copies what is new until the context is done, or something is wrong that
// does not pass.
func (c *copier) watch(ctx context.Context, w Watch, first *Copied) error {
	if w.Interval <= 0 {
		w.Interval = DefaultWatchInterval
	}
	tell := func(r *Copied) {
		if w.Copied != nil {
			w.Copied(*r)
		}
	}
	tell(first)
	for delay := w.Interval; ; {
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		result, err := c.next(ctx)
		switch {
		case err == nil:
			delay = w.Interval
			if result.Files > 0 {
				tell(result)
			}
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case !passes(err):
			return err
		}
		delay = max(w.Interval, min(2*delay, mostBackOff))
		if w.Failed != nil {
			w.Failed(err, delay)
		}
	}
}

// passes reports whether an error may not come again. Missing permissions count,
// because credentials are renewed.
func passes(err error) bool {
	for _, lasting := range []error{errs.ErrConflict, errs.ErrCorrupt, fs.ErrExist, fs.ErrInvalid, errors.ErrUnsupported} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	return true
}

// next copies what is new since the last run.
func (c *copier) next(ctx context.Context) (*Copied, error) {
	files, err := c.listNewer(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(files, func(f *ltx.FileInfo) bool { return !c.isSame(f) }) {
		return new(Copied), nil
	}
	result, err := c.run(ctx)
	if errors.Is(err, errs.ErrConflict) && c.theirs <= c.newest {
		err = fmt.Errorf("the source %w: %w", ErrRolledBack, err) // nothing else has written to the other place
	}
	return result, err
}

// listNewer lists the source. It is ErrRolledBack if the newest transaction that was
// copied is not there.
func (c *copier) listNewer(ctx context.Context) ([]*ltx.FileInfo, error) {
	files, err := c.listSource(ctx, c.newest)
	switch {
	case err != nil || newestOf(files) >= c.newest:
		return files, err
	case len(files) == 0:
		return nil, fmt.Errorf("the source %w: it has no files any more, and had transaction %s", ErrRolledBack, c.newest)
	}
	return nil, fmt.Errorf("the source %w: its newest transaction is %s, and was %s", ErrRolledBack, newestOf(files), c.newest)
}
