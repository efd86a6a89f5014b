// Package jitter randomizes delays, so that programs that failed together do not
// try again together.
package jitter

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// replaced is the function that a test has given to Replace, nil if there is none.
var replaced atomic.Pointer[func(d time.Duration) time.Duration]

// Around returns a random delay from half of d to one and a half times d. It panics
// if d is not positive. It is safe for concurrent use.
func Around(d time.Duration) time.Duration {
	if fn := replaced.Load(); fn != nil {
		return (*fn)(d)
	}
	return d/2 + rand.N(d)
}

// Replace has Around return what fn returns, until restore is called. Only tests
// call it, to repeat a run with the same delays. Fn is called concurrently.
func Replace(fn func(d time.Duration) time.Duration) (restore func()) {
	before := replaced.Swap(&fn)
	return func() { replaced.Store(before) }
}
