package clientio

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"sync"
)

// sharedTransports are the transports that clients have in common. A process may have
// thousands of clients, and a connection to the store for each would take all file
// descriptors.
var sharedTransports struct {
	mu  sync.Mutex // duty: all, and the users of each
	all []*sharedTransport
}

// sharedTransport is a transport and the number of clients that use it.
type sharedTransport struct {
	*http.Transport
	trust trust
	users int // guarded by sharedTransports.mu
}

// trust says which certificates of servers a transport accepts.
type trust struct {
	roots      *x509.CertPool // nil: those of the system
	skipVerify bool
	minVersion uint16
}

func (t trust) equal(other trust) bool {
	return t.roots.Equal(other.roots) && t.skipVerify == other.skipVerify && t.minVersion == other.minVersion
}

// SharedTransport returns a transport like one of NewTransport, which all clients
// share that accept the same certificates of servers. Of config, which may be nil,
// RootCAs, InsecureSkipVerify and MinVersion count. A client calls release each time
// that it is closed, and may be used again. Once all clients were closed, a close
// closes the idle connections.
func SharedTransport(config *tls.Config) (t *http.Transport, release func()) {
	s := &sharedTransports
	var want trust
	if config != nil {
		want = trust{config.RootCAs, config.InsecureSkipVerify, config.MinVersion}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *sharedTransport
	for _, shared := range s.all {
		if shared.trust.equal(want) {
			found = shared
		}
	}
	if found == nil {
		if config != nil {
			config = &tls.Config{RootCAs: want.roots, InsecureSkipVerify: want.skipVerify, MinVersion: want.minVersion}
		}
		found = &sharedTransport{Transport: NewTransport(config), trust: want}
		found.MaxIdleConns = 0 // each bucket may be a host of its own, and polls each second
		s.all = append(s.all, found)
	}
	found.users++
	counts := 1
	return found.Transport, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		found.users -= counts
		counts = 0
		if found.users == 0 {
			found.CloseIdleConnections()
		}
	}
}
