package pages

import "sync"

// BufferPool holds buffers for compressed frames, or for pages. It is safe for
// concurrent use; the zero value is ready.
type BufferPool struct{ pool sync.Pool } // *[]byte

// Get returns a buffer of n bytes or more, which the caller puts back.
func (p *BufferPool) Get(n int) *[]byte {
	buf, ok := p.pool.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	*buf = (*buf)[:cap(*buf)]
	return buf
}

// Put takes a buffer back that Get returned.
func (p *BufferPool) Put(buf *[]byte) { p.pool.Put(buf) }
