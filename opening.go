package litestream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// opening is an open of a database that is under way. Connections wait for it, and
// learn what has gone wrong so far if they cannot wait for its end. It is safe for
// concurrent use.
type opening struct {
	// wanted is done when no connection waits any more. The open goes on, but does
	// not wait for the first files of a replica.
	wanted  context.Context
	abandon context.CancelCauseFunc

	log *slog.Logger

	mu struct {
		sync.Mutex
		where   string // place of the replica; "" if its client does not tell it
		problem error  // the newest one; nil if there was none
		retried int    // number of requests that failed and were made again
		ended   bool
	}
}

// errAbandoned is the error of an open that has ended because no connection waits
// for it.
var errAbandoned = errors.New("no connection waits for it any more")

// newOpening returns an open that a connection waits for.
func newOpening(name string, log *slog.Logger) *opening {
	o := &opening{log: log.With("db", shownName(name))}
	o.wanted, o.abandon = context.WithCancelCause(context.Background())
	return o
}

// begin notes the place of the replica, before the first request.
func (o *opening) begin(where string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.where = where
}

// retries notes that a request has failed and is made again. The first failure is a
// warning at once, since the open itself may fail much later.
func (o *opening) retries(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.ended {
		return
	}
	level := slog.LevelWarn
	if o.mu.retried++; o.mu.retried > 1 {
		level = slog.LevelDebug
	}
	o.mu.problem = err
	o.log.Log(context.Background(), level, "a request of the open failed, and is made again", "replica", o.mu.where, "error", err)
}

// waits notes that the open waits for the first files of a replica.
func (o *opening) waits(reason error, limit string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.problem = reason
	o.log.Warn("the replica has no LTX files yet: the open waits for the first upload of a primary", "replica", o.mu.where, "reason", reason, "limit", limit)
}

// goesOn notes that storage has answered, and that the open waits on.
func (o *opening) goesOn(reason error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.problem = reason
}

// end makes later failures of requests those of other operations.
func (o *opening) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mu.ended = true
	o.abandon(nil)
}

// because adds what has gone wrong so far to the reason why a connection does not
// wait any longer.
func (o *opening) because(err error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mu.problem == nil || errors.Is(err, o.mu.problem) {
		return err
	}
	return fmt.Errorf("%w: %w", err, o.mu.problem)
}
