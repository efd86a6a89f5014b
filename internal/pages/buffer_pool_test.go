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

// Buffers of pages are kept apart from those of requests for many, where they would be
// dropped.
func TestBufferPool_Apart(t *testing.T) {
	var p BufferPool
	for _, n := range []int{1, 512, smallBuffer} {
		buf := make([]byte, n)
		p.Put(&buf)
		if p.large.Get() != nil {
			t.Errorf("a buffer of %d bytes is among the large ones", n)
		}
	}
	buf := make([]byte, smallBuffer+1)
	p.Put(&buf)
	for range 3 {
		if buf, ok := p.small.Get().(*[]byte); ok && cap(*buf) > smallBuffer {
			t.Errorf("a buffer of %d bytes is among the small ones", cap(*buf))
		}
	}
}
