package litestream

import (
	"testing"
	"time"
	"unsafe"
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

// While a machine is suspended, its monotonic clock may stand still. The first poll by
// name after that lists all levels, because the file of the next transaction may have been
// merged and deleted meanwhile.
func TestFollowing_Suspended(t *testing.T) {
	listed := time.Now()
	// The first word of a time has the seconds of the wall clock from bit 30 on. The
	// monotonic clock is in another one.
	*(*uint64)(unsafe.Pointer(&listed)) -= uint64(time.Hour/time.Second) << 30
	if monotonic, wall := time.Since(listed), time.Now().Round(0).Sub(listed.Round(0)); monotonic > time.Minute || wall < time.Hour {
		t.Fatalf("the clocks went on by %v and %v", monotonic, wall)
	}
	var f following
	f.listedAll(listed)
	if !f.begin(true) {
		t.Error("the poll looks for the next file only")
	}
	f.listedAll(time.Now())
	if f.begin(true) {
		t.Error("the next poll lists all levels again")
	}
}
