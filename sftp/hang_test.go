package sftp_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/storetest/sftptest"
	"github.com/ltxvfs/litestream/sftp"
)

// hangingConn is a connection that gives nothing more once it hangs.
type hangingConn struct {
	net.Conn
	hangs  *atomic.Bool
	closed chan struct{}
}

func (c *hangingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil && c.hangs.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *hangingConn) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return c.Conn.Close()
}

// A call on a connection that hangs ends with its context, and the connection is
// given up, so that later calls use another.
func TestHangs(t *testing.T) {
	t.Cleanup(sftp.SetIntervals(50*time.Millisecond, 200*time.Millisecond, 300*time.Millisecond))
	s := sftptest.New(t)
	c := newClient(t, s, t.TempDir())
	c.Connections = 1
	var hangs atomic.Bool
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &hangingConn{Conn: conn, hangs: &hangs, closed: make(chan struct{})}, err
	}
	body := encode(t, 1, 0, 100<<10)
	if err := write(t.Context(), c, 1, body); err != nil {
		t.Fatal(err)
	}

	// A connection without calls stays, as the server gives signs of life.
	s.Take()
	time.Sleep(time.Second)
	if _, err := read(t.Context(), c, 1, 0, 10); err != nil {
		t.Fatal(err)
	}
	if text := s.Take(); !bytes.Contains([]byte(text), []byte("connections: 0")) {
		t.Errorf("a connection without calls was given up: %s", text)
	}

	hangs.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := read(ctx, c, 1, 0, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call that hangs ends with %v", err)
	}
	if _, err := read(t.Context(), c, 1, 0, 10); err == nil || permanent(err) {
		t.Errorf("a call that hangs without a deadline ends with %v", err)
	}
	hangs.Store(false)
	if got, err := read(t.Context(), c, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
		t.Errorf("after the server came back: %d bytes, %v", len(got), err)
	}
}
