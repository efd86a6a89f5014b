package clientio

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// connections is a server that counts its open connections.
type connections struct {
	*httptest.Server
	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
	all  int               // guarded by mu; number of connections so far
}

func newConnections(t *testing.T) *connections {
	c := &connections{open: make(map[net.Conn]bool)}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") }))
	c.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch state {
		case http.StateNew:
			c.open[conn] = true
			c.all++
		case http.StateClosed, http.StateHijacked:
			delete(c.open, conn)
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func (c *connections) count() (open, all int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), c.all
}

// ask makes a request and reads the answer.
func (c *connections) ask(t *testing.T, tr *http.Transport) {
	t.Helper()
	resp, err := (&http.Client{Transport: tr}).Get(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// TestSharedTransport makes requests of many clients one after the other, which take
// one connection. It is closed after the last client, and not before.
func TestSharedTransport(t *testing.T) {
	server := newConnections(t)
	var releases []func()
	for range 50 {
		tr, release := SharedTransport(nil)
		server.ask(t, tr)
		releases = append(releases, release)
	}
	if open, all := server.count(); open != 1 || all != 1 {
		t.Errorf("%d connections are open, %d were opened, want 1", open, all)
	}
	for i, release := range releases {
		if open, _ := server.count(); open != 1 {
			t.Fatalf("%d connections are open after %d of %d clients were closed", open, i, len(releases))
		}
		release()
		release() // closing a client again is no other client
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		open, _ := server.count()
		if open == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open after all clients were closed", open)
		}
	}
	tr, release := SharedTransport(nil) // a client after them
	defer release()
	server.ask(t, tr)
}

// TestSharedTransport_Trust checks that clients share a transport only if they accept
// the same certificates.
func TestSharedTransport_Trust(t *testing.T) {
	pool := func(certs ...*x509.Certificate) *x509.CertPool {
		p := x509.NewCertPool()
		for _, c := range certs {
			p.AddCert(c)
		}
		return p
	}
	one := httptest.NewTLSServer(nil)
	defer one.Close()
	of := func(config *tls.Config) *http.Transport {
		tr, release := SharedTransport(config)
		t.Cleanup(release)
		return tr
	}
	configs := []func() *tls.Config{
		func() *tls.Config { return nil },
		func() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12} },
		func() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} },
		func() *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool()} },
		func() *tls.Config {
			return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool(one.Certificate())}
		},
	}
	for i, config := range configs {
		for k, other := range configs {
			if a, b := of(config()), of(other()); (a == b) != (i == k) {
				t.Errorf("clients with configurations %d and %d share a transport: %v", i, k, a == b)
			}
		}
	}
}
