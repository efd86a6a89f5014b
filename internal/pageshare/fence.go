//go:build !arm64

package pageshare

import (
	"runtime"
	"sync/atomic"
)

// inOrder tells that processors of this kind do loads in order, and that an atomic
// store is seen before the stores that follow it.
const inOrder = runtime.GOARCH == "amd64" || runtime.GOARCH == "386" || runtime.GOARCH == "s390x"

// loadFence keeps loads before it from being done after those that follow it.
func loadFence() {
	if !inOrder {
		var x atomic.Uint32
		x.Add(1)
	}
}

// storeFence keeps stores before it from being seen after those that follow it.
func storeFence() { loadFence() }
