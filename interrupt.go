package litestream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrInterrupted means that SQLite interrupted the statement while it waited for
// storage, as it does when the context of a query ends. The connection can be used
// afterwards. CodeOf returns CodeInterrupt for it.
var ErrInterrupted = errors.New("interrupted")

// interruptEvery is the time between two looks whether a statement that waits was
// interrupted.
const interruptEvery = 20 * time.Millisecond

// SetInterrupted sets how the connection learns that SQLite has interrupted its
// statement: sqlite3_is_interrupted, for example. While a call of the Conn waits
// for storage, a goroutine calls interrupted every 20 ms. If that returns true, the
// call fails with ErrInterrupted. A call that does not wait that long never calls
// it, and it is not called after the call has returned.
//
// SetInterrupted must be called before the connection is used. Without it, calls
// wait as long as the options allow.
func (c *Conn) SetInterrupted(interrupted func() bool) { c.interrupted = interrupted }

// SetStatement sets how the connection learns the text of the statement that
// SQLite runs, with the values of its parameters: sqlite3_expanded_sql of the
// statements for which sqlite3_stmt_busy is true, for example. Lists of values in
// it, such as those of an IN, tell which rows are looked up next, and these are
// read ahead. A LIMIT tells how far a scan is read ahead, and the names of tables tell
// which trees are read. ReadAt calls text, in its own goroutine, a few times at most
// for some reads of pages that were not foreseen, and once for each scan.
//
// SetStatement must be called before the connection is used. Without it, lists are
// not read ahead, and a scan is read ahead in proportion to what it has read.
func (c *Conn) SetStatement(text func() string) { c.predictor.SetStatement(text) }

// waiting returns a context for a wait that ends after d, if the database is
// closed, if SQLite interrupts the statement, or if the context of a connector's
// connection ends. A negative d means no limit.
func (c *Conn) waiting(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := c.db.tasks.WithTimeout(d)
	call := c.call
	if call != nil && call.Done() == nil {
		call = nil
	}
	if c.interrupted == nil && call == nil {
		return ctx, cancel
	}
	ctx, interrupt := context.WithCancelCause(ctx)
	if call != nil {
		stop := context.AfterFunc(call, func() { interrupt(fmt.Errorf("%w: %w", ErrInterrupted, context.Cause(call))) })
		before := cancel
		cancel = func() { stop(); before() }
	}
	if c.interrupted == nil {
		return ctx, func() { interrupt(nil); cancel() }
	}
	w := &interruptWatch{interrupted: c.interrupted, interrupt: interrupt}
	w.mu.Lock()
	w.mu.timer = time.AfterFunc(interruptEvery, w.look)
	w.mu.Unlock()
	return ctx, func() {
		w.stop()
		interrupt(nil)
		cancel()
	}
}

// causeOf adds the reason why ctx has ended to an error of a wait, if it has and
// the error does not say so.
func causeOf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// interruptWatch looks whether a statement was interrupted, until it is stopped.
type interruptWatch struct {
	interrupted func() bool
	interrupt   context.CancelCauseFunc

	// mu is held while interrupted runs, since SQLite's connection may be freed as
	// soon as stop has returned.
	mu struct {
		sync.Mutex
		timer   *time.Timer
		stopped bool
	}
}

func (w *interruptWatch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.mu.stopped:
	case w.interrupted():
		w.interrupt(ErrInterrupted)
	default:
		w.mu.timer.Reset(interruptEvery)
	}
}

func (w *interruptWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.stopped = true
	w.mu.timer.Stop()
}
