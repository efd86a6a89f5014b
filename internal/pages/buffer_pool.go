package pages

import "sync"

// BufferPool holds buffers for compressed frames, or for pages. It is safe for
// concurrent use; the zero value is ready.
type BufferPool struct{ small, large sync.Pool } // *[]byte

const (
	// smallBuffer is the size of the largest page. Larger buffers are kept apart, so that
	// a request for many pages does not get the buffer of a page and drop it.
	smallBuffer = 64 << 10

	// bufferStep is what the size of a large buffer is a multiple of.
	bufferStep = 128 << 10
)

// Get returns a buffer of n bytes or more, which the caller puts back.
func (p *BufferPool) Get(n int) *[]byte {
	pool := &p.small
	if n > smallBuffer {
		pool = &p.large
	}
	buf, ok := pool.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	if cap(*buf) < n {
		if n > smallBuffer {
			n += bufferStep - 1
			n -= n % bufferStep
		}
		*buf = make([]byte, n)
	}
	*buf = (*buf)[:cap(*buf)]
	return buf
}

// Put takes a buffer back that Get returned.
func (p *BufferPool) Put(buf *[]byte) {
	if cap(*buf) > smallBuffer {
		p.large.Put(buf)
	} else {
		p.small.Put(buf)
	}
}
