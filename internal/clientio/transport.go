package clientio

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

const (
	// A database reads up to 128 ranges at once, litestream.DefaultMaxConcurrentRequests.
	// Connections that it does not find open again cost it a round trip or three.
	maxIdleConns    = 128
	idleConnTimeout = 90 * time.Second

	maxHeaderBytes = 256 << 10 // of one answer, several times what the stores send

	// Who waits for a connection gets an error, and may try again, long before its time is up.
	dialTimeout = 5 * time.Second
	tlsTimeout  = 5 * time.Second
)

// NewTransport returns a transport for many small ranged reads at once from
// one host. Config may be nil.
func NewTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    tlsTimeout,
		MaxIdleConns:           maxIdleConns,
		MaxIdleConnsPerHost:    maxIdleConns,
		MaxResponseHeaderBytes: maxHeaderBytes,
		IdleConnTimeout:        idleConnTimeout,
		ExpectContinueTimeout:  time.Second,
		DisableCompression:     true,  // lengths are those of ranges
		ForceAttemptHTTP2:      false, // measured in gs: less bulk, for twice the processor time
	}
}
