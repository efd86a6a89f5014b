package gs_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/storetest"
)

// Nothing listens, or the name is not known: transient, and says so.
func TestNetwork(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		text string
	}{
		{"refused", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}, "connection refused"},
		{"dns", &net.DNSError{Err: "no such host", Name: "storage.invalid", IsNotFound: true}, "no such host"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dials := 0
			tr := clientio.NewTransport(nil)
			tr.Proxy = nil
			tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
				dials++
				return nil, tt.err
			}
			for _, m := range methods {
				c := newServer(t, nil).client(t)
				c.Endpoint, c.Transport = "http://storage.invalid", tr
				dials = 0
				err := m.call(t.Context(), c, body(t, 1))
				wantError(t, err, "transient", tt.text)
				if err != nil && strings.Contains(err.Error(), "storage/v1") {
					t.Errorf("%s: error has a url: %v", m.name, err)
				}
				if dials != 1 {
					t.Errorf("%s: dialed %d times", m.name, dials)
				}
			}
		})
	}
}

// A bucket that a real server does not have.
func TestWrongBucket(t *testing.T) {
	emulator(t)
	for _, m := range methods {
		t.Run(m.name, func(t *testing.T) {
			c := newClient(t, "there-is-no-such-bucket")
			wantError(t, m.call(t.Context(), c, body(t, 1)), "permanent", "there-is-no-such-bucket")
		})
	}
}

// A server that dies takes nothing with it: the same client goes on when it
// is back.
func TestServerComesBack(t *testing.T) {
	bucket := newBucket(t)
	proxy := storetest.NewProxy(t, strings.TrimPrefix(emulator(t), "http://"))
	c := newClient(t, bucket.BucketName())
	c.Transport = proxy.Transport()
	b := body(t, 1)
	for _, down := range []bool{false, true, false} {
		proxy.SetDown(down)
		want := "none"
		if down {
			want = "transient"
		}
		for _, m := range methods[:2] {
			wantError(t, m.call(t.Context(), c, b), want)
		}
		wantError(t, methods[3].call(t.Context(), c, b), want)
		wantError(t, methods[2].call(t.Context(), c, b), want)
	}
}
