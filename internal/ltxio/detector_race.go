//go:build race

package ltxio

import (
	"runtime"
	"unsafe"
)

// Compression and checksums look at every byte of a file, some of them more than
// once. If the race detector saw each access, tests would spend nearly half of their
// time with that. So updateCRC, and in the gate the compression too, are compiled
// without the detector, and tell it once what they are about to do.

// noteRead tells the race detector that all of b is read.
func noteRead(b []byte) {
	if len(b) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(b)), len(b))
	}
}

// noteUse tells the race detector that e changes.
func noteUse(e *FrameEncoder) {
	runtime.RaceWriteRange(unsafe.Pointer(e), int(unsafe.Sizeof(*e)))
}
