package abs_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/abs"
)

func TestInit(t *testing.T) {
	clearEnv(t)
	for name, spoil := range map[string]func(*abs.ReplicaClient){
		"no container": func(c *abs.ReplicaClient) { c.Bucket = "" },
		"container":    func(c *abs.ReplicaClient) { c.Bucket = "a/b?c" },
		"no account":   func(c *abs.ReplicaClient) { c.Endpoint, c.AccountName = "", "" },
		"account":      func(c *abs.ReplicaClient) { c.Endpoint, c.AccountName = "", "evil.example/" },
		"part size":    func(c *abs.ReplicaClient) { c.PartSize = -1 },
		"large part":   func(c *abs.ReplicaClient) { c.PartSize = 5 << 30 },
		"concurrency":  func(c *abs.ReplicaClient) { c.Concurrency = -1 },
		"much at once": func(c *abs.ReplicaClient) { c.Concurrency = 1001 },
	} {
		c := fake(t, func(http.ResponseWriter, *http.Request) { t.Error("a request") })
		good := [...]any{c.AccountName, c.Endpoint, c.Bucket}
		spoil(c)
		for method, call := range methods(t) {
			if err := call(t.Context(), c); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s: %s: got error %v, want fs.ErrInvalid", name, method, err)
			}
		}
		// It can be tried again.
		c.AccountName, c.Endpoint, c.Bucket = good[0].(string), good[1].(string), good[2].(string)
		c.PartSize, c.Concurrency = 0, 0
		if err := c.Init(t.Context()); err != nil {
			t.Errorf("%s: after it was set right: %v", name, err)
		}
	}

	c := fake(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Init(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
	var zero abs.ReplicaClient
	if err := errors.Join(zero.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

// Close ends the client's own connections, and the client goes on.
func TestClose(t *testing.T) {
	c := newClient(t)
	for range 2 {
		if _, err := listAll(t.Context(), c, 0); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	closed := &closer{RoundTripper: http.DefaultTransport}
	d := keyClient(t, c.Bucket)
	d.Transport = closed
	if _, err := listAll(t.Context(), d, 0); err != nil || d.Close() != nil || closed.n.Load() != 0 {
		t.Errorf("Close closed the connections of the user's transport %d times, %v", closed.n.Load(), err)
	}
}

type closer struct {
	http.RoundTripper
	n atomic.Int64
}

func (c *closer) CloseIdleConnections() { c.n.Add(1) }
