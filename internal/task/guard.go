package task

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// ErrPanic means that a function has panicked. The log has the panic.
var ErrPanic = errors.New("panic, see the log")

// Guard, deferred, turns a panic into an error. No panic may cross into C, and a
// panic of a goroutine would end the process.
func Guard(log *slog.Logger, op string, err *error) {
	if r := recover(); r != nil {
		*err = Panicked(log, op, r)
	}
}

// Panicked logs the panic r, which the caller has recovered, and returns the
// error for it.
func Panicked(log *slog.Logger, op string, r any) error {
	log.Error("panic", "op", op, "panic", r, "stack", string(debug.Stack()))
	return fmt.Errorf("%s: %w", op, ErrPanic)
}

// Signal puts a value into a channel that holds one, unless it is full.
func Signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
