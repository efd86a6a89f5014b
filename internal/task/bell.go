package task

import "sync"

// Bell wakes every goroutine that waits for it. Its zero value is ready to use. It is
// safe for concurrent use.
type Bell struct {
	mu struct { // duty: one channel for all that wait for the next ring
		sync.Mutex
		next chan struct{} // nil: nobody waits
	}
}

// Next returns a channel that the next Ring closes.
func (b *Bell) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.next == nil {
		b.mu.next = make(chan struct{})
	}
	return b.mu.next
}

// Ring wakes the goroutines that wait.
func (b *Bell) Ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.next != nil {
		close(b.mu.next)
		b.mu.next = nil
	}
}
