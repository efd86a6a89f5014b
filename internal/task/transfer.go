package task

import (
	"context"
	"time"
)

// transferRate is how fast a transfer has to be, bytes a second.
const transferRate = 1 << 20

// TransferTime returns the time limit of requests that transfer n bytes: d,
// which is the limit of a small request, and a second for each MiB. A negative
// d is no limit, whatever n is.
func TransferTime(d time.Duration, n int64) time.Duration {
	if d < 0 {
		return d
	}
	return d + time.Duration(n/transferRate)*time.Second
}

// WithTransfer is WithTimeout for requests that transfer n bytes.
func (g *Group) WithTransfer(d time.Duration, n int64) (context.Context, context.CancelFunc) {
	return g.WithTimeout(TransferTime(d, n))
}
