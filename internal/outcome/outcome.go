// Package outcome records how the attempts of an operation end.
package outcome

import (
	"sync"
	"time"
)

// Last is how the last attempts of an operation ended.
type Last struct {
	Success time.Time // of the last one that succeeded; zero: none
	Failure time.Time // of the last one that failed; zero: none
	Err     error     // of the last one that failed
	Since   time.Time // of the first one that failed after the last success; zero while the operation works

	Successes int64 // number of attempts that succeeded
	Failures  int64 // number of attempts that failed
}

// IsFailing reports whether the last attempt failed.
func (l Last) IsFailing() bool { return !l.Since.IsZero() }

// Record records attempts. Its zero value has none. It is safe for concurrent use.
type Record struct {
	mu struct {
		sync.Mutex
		last Last
	}
}

// Note records that an attempt has ended, with an error or nil. It reports whether
// the operation has begun to fail, or works again.
func (r *Record) Note(err error) (changed bool) {
	now := time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	last := &r.mu.last
	failed := last.IsFailing()
	if err == nil {
		last.Successes++
		last.Success, last.Since = now, time.Time{}
		return failed
	}
	last.Failures++
	last.Failure, last.Err = now, err
	if !failed {
		last.Since = now
	}
	return !failed
}

// Last returns how the last attempts ended.
func (r *Record) Last() Last {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.last
}
