package dashboard

import (
	"sync"
	"time"
)

// recent keeps the newest answers to a question. It is safe for concurrent use; the
// zero value is empty.
type recent[T any] struct {
	mu struct {
		sync.Mutex
		answers map[string]recentAnswer[T]
	}
}

type recentAnswer[T any] struct {
	at    time.Time
	value T
}

// maxRecent is how many answers are kept.
const maxRecent = 256

// get returns an answer, and false if there is none since a time.
func (r *recent[T]) get(key string, since time.Time) (value T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.mu.answers[key]
	if !ok || a.at.Before(since) {
		return value, false
	}
	return a.value, true
}

// put keeps an answer. The oldest one goes if there are too many.
func (r *recent[T]) put(key string, at time.Time, value T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.answers == nil {
		r.mu.answers = make(map[string]recentAnswer[T])
	}
	r.mu.answers[key] = recentAnswer[T]{at, value}
	if len(r.mu.answers) <= maxRecent {
		return
	}
	oldest := key
	for k, a := range r.mu.answers {
		if a.at.Before(r.mu.answers[oldest].at) {
			oldest = k
		}
	}
	delete(r.mu.answers, oldest)
}
