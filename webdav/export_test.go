package webdav

import "time"

// SetInMemory changes the size up to which bodies are sent from memory, and returns a
// function that undoes that.
func SetInMemory(n int) (undo func()) {
	before := inMemory
	inMemory = n
	return func() { inMemory = before }
}

// SetPatience changes for how long a client waits for another one, and returns a
// function that undoes that.
func SetPatience(d time.Duration) (undo func()) {
	before := patience
	patience = d
	return func() { patience = before }
}
