package pages

import (
	"context"
	"time"

	"github.com/ltxvfs/litestream/internal/task"
)

// arrivals wakes readers that wait for one page when others have arrived, so that
// what these lead to is fetched before the reader goes on. It is safe for concurrent
// use; the zero value is ready.
type arrivals struct{ task.Bell }

// arrivalPause is how long a reader waits for further pages when one has arrived: the
// answers to requests that were made together come one after the other, and to look at
// what they lead to takes processor time.
const arrivalPause = time.Millisecond

// await waits until done is closed, as long as ctx allows. It calls news, if that is
// not nil, when other pages have arrived.
func (a *arrivals) await(ctx context.Context, done <-chan struct{}, news func()) error {
	var other <-chan struct{}
	var pause <-chan time.Time
	for {
		if other == nil && pause == nil && news != nil {
			other = a.Next()
		}
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-other:
			other, pause = nil, time.After(arrivalPause)
		case <-pause:
			pause = nil
			news()
		}
	}
}
