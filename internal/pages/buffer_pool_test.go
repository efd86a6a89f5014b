package pages

import "testing"

func TestBufferPool(t *testing.T) {
	var p BufferPool
	for _, n := range []int{1, 512, 64 << 10, 64<<10 + 1, 512 << 10, 512<<10 + 1, 3, 100 << 10} {
		buf := p.Get(n)
		if len(*buf) < n {
			t.Errorf("a buffer of %d bytes, want %d or more", len(*buf), n)
		}
		if n <= smallBuffer && len(*buf) > smallBuffer {
			t.Errorf("a buffer of %d bytes, want %d", len(*buf), n)
		}
		p.Put(buf)
	}
}
