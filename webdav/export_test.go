package webdav

// SetInMemory changes the size up to which bodies are sent from memory, and returns a
// function that undoes that.
func SetInMemory(n int) (undo func()) {
	before := inMemory
	inMemory = n
	return func() { inMemory = before }
}
