package sftp

import "time"

// SetIntervals changes how often connections are looked at, and returns a function
// that undoes that.
func SetIntervals(look, idle, dead time.Duration) (undo func()) {
	a, b, c := lookInterval, idleInterval, deadAfter
	lookInterval, idleInterval, deadAfter = look, idle, dead
	return func() { lookInterval, idleInterval, deadAfter = a, b, c }
}
