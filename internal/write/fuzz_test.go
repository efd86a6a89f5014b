package write

import (
	"encoding/binary"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// FuzzWatermark parses lock files of write buffers. A watermark that is accepted is
// the one that the bytes say.
func FuzzWatermark(f *testing.F) {
	m := watermark{boot: [16]byte{1, 2}, file: 3, number: 4, salt: 5, end: 6}
	f.Add(m.encode())
	f.Add(m.encode()[:lockSize-1])
	f.Add([]byte(lockMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			m := parseWatermark(b)
			if m != (watermark{}) && string(m.encode()) != string(b[:lockSize]) {
				t.Errorf("%x is read as %+v", b, m)
			}
		}
		check(b)
		if len(b) >= lockSize { // nearly all inputs have a wrong sum
			binary.BigEndian.PutUint64(b[lockSize-8:], xxhash.Sum64(b[:lockSize-8]))
			check(b)
		}
	})
}
