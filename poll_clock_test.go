package litestream

import (
	"testing"
	"time"
)

// A clock that was set back by an hour does not make an old view count as new for an
// hour, and an unused database does not poll for an hour longer.
func TestPoller_ClockSetBack(t *testing.T) {
	p := newPoller(time.Second, time.Minute, nil, nil, nil, nil)
	if p.isStale() {
		t.Error("a view that was just read is old")
	}
	later := time.Now().Add(time.Hour).UnixNano()
	p.fresh.Store(later)
	p.lastUse.Store(later)
	if !p.isStale() {
		t.Error("a view that was read at a time that is to come is not old")
	}
	if p.isIdle() {
		t.Error("a database is unused at once")
	}
	if last := p.lastUse.Load(); last > time.Now().UnixNano() {
		t.Errorf("it was last used %v from now", time.Until(time.Unix(0, last)))
	}
}
