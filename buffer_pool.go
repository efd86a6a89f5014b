package litestream

import "sync"

// bufferPool holds buffers for compressed frames. It is safe for concurrent
// use; the zero value is ready.
type bufferPool struct{ pool sync.Pool } // *[]byte

// get returns a buffer of n bytes or more, which the caller puts back.
func (p *bufferPool) get(n int) *[]byte {
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

func (p *bufferPool) put(buf *[]byte) { p.pool.Put(buf) }
