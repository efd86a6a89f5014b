package view

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxio"
)

// A packed place has room for all sources, offsets and sizes of frames.
func TestPack(t *testing.T) {
	for bit := range 31 {
		for _, src := range []uint32{1 << bit, 1<<bit - 1, 1<<31 - 1 - 1<<bit} {
			for _, offset := range []int64{0, 100, ltxio.MaxFileSize - 1} {
				for _, size := range []uint32{1, 4096, unread} {
					loc, ref := pack(src, offset, size)
					if s, o, n := unpack(loc, &ref); s != src || o != offset || n != size {
						t.Errorf("source %d, offset %d, size %d become %d, %d, %d", src, offset, size, s, o, n)
					}
				}
			}
		}
	}
}
