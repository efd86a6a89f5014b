//go:build race

package ltxio

import (
	"runtime"
	"unsafe"
)

// noteUse tells the race detector that e changes and that all of page is read. The
// gate compiles the compression without the detector, because with it most tests spend
// their time there.
func noteUse(e *FrameEncoder, page []byte) {
	runtime.RaceWriteRange(unsafe.Pointer(e), int(unsafe.Sizeof(*e)))
	if len(page) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(page)), len(page))
	}
}
