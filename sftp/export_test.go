package sftp

import "time"

// SetMaxListing changes the limit of a folder, and returns a function that undoes that.
func SetMaxListing(n int64) (undo func()) {
	old := maxListing
	maxListing = n
	return func() { maxListing = old }
}

// SetIntervals changes how often connections are looked at, and returns a function
// that undoes that.
func SetIntervals(look, idle, dead time.Duration) (undo func()) {
	a, b, c := lookInterval, idleInterval, deadAfter
	lookInterval, idleInterval, deadAfter = look, idle, dead
	return func() { lookInterval, idleInterval, deadAfter = a, b, c }
}
