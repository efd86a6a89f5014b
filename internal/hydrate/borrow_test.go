package hydrate

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/pageshare"
)

// An owner has stopped if it did not run for long, and this process has seen that
// for a while. An owner that runs again, or one whose clock differs, has not.
func TestStalled(t *testing.T) {
	if pageshare.Supported() != nil {
		t.Skip("no sharing here")
	}
	synctest.Test(t, func(t *testing.T) {
		var s stalled
		old := pageshare.Now() - int64(stoppedAfter) - 1
		if s.is(pageshare.Now()) || s.is(old) {
			t.Error("it was seen once")
		}
		time.Sleep(2*beatEvery + time.Millisecond)
		if s.is(old-1) || s.is(old) {
			t.Error("it has run meanwhile")
		}
		time.Sleep(2*beatEvery + time.Millisecond)
		if !s.is(old) {
			t.Error("it does not run")
		}
		if s.is(pageshare.Now()) || s.is(old) {
			t.Error("it runs again")
		}
	})
}

// Storage is asked again after longer and longer times, and at once for another
// owner.
func TestAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a asks
		began, asked := time.Now(), []int(nil)
		for range 300 {
			if a.may(1) {
				asked = append(asked, int(time.Since(began).Seconds()))
			}
			time.Sleep(time.Second)
		}
		if want := []int{0, 1, 3, 7, 15, 31, 63, 123, 183, 243}; !slices.Equal(asked, want) {
			t.Errorf("after %d seconds, want %d", asked, want)
		}
		if !a.may(2) || a.may(2) {
			t.Error("another owner")
		}
	})
}
