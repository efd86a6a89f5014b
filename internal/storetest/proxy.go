package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// Proxy is a proxy of a Toxiproxy server, in front of another server.
type Proxy struct {
	t    testing.TB
	api  string // of this proxy
	addr string
}

// Toxic is an effect of a Proxy on connections, in the terms of Toxiproxy's
// manual: latency, bandwidth, slicer, reset_peer, limit_data, timeout.
type Toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream,omitempty"` // upstream, or downstream, the default
	Toxicity   float64        `json:"toxicity"`         // fraction of the connections; 0 means all
	Attributes map[string]any `json:"attributes"`
}

// NewProxy makes a proxy in front of upstream, a host and a port, until the
// test ends.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, api: Server(t, "LITESTREAM_TEST_TOXIPROXY").String() + "/proxies"}
	var made struct{ Listen string }
	name := fmt.Sprintf("test-%d", time.Now().UnixNano())
	p.call(http.MethodPost, "", map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true}, &made)
	p.api += "/" + name
	p.addr = made.Listen
	t.Cleanup(func() { p.call(http.MethodDelete, "", nil, nil) })
	return p
}

// Add makes the proxy apply a toxic to connections from now on. It returns a
// function that ends the effect.
func (p *Proxy) Add(toxic Toxic) (remove func()) {
	p.t.Helper()
	if toxic.Toxicity == 0 {
		toxic.Toxicity = 1
	}
	var made struct{ Name string }
	p.call(http.MethodPost, "/toxics", toxic, &made)
	return func() { p.call(http.MethodDelete, "/toxics/"+made.Name, nil, nil) }
}

// SetDown breaks all connections and refuses new ones, or accepts new ones
// again.
func (p *Proxy) SetDown(down bool) {
	p.t.Helper()
	p.call(http.MethodPost, "", map[string]any{"enabled": !down}, nil)
}

// Addr is the host and the port of the proxy.
func (p *Proxy) Addr() string { return p.addr }

// Dial connects to the proxy, whatever the address is.
func (p *Proxy) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, p.addr)
}

// Transport returns the usual transport of a client, through the proxy.
func (p *Proxy) Transport() *http.Transport {
	tr := clientio.NewTransport(nil)
	tr.Proxy = nil
	tr.DialContext = p.Dial
	p.t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// call sends a request to Toxiproxy.
func (p *Proxy) call(method, path string, request, response any) {
	p.t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		p.t.Fatal(err)
	}
	// The context of the test is done while the test cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.api+path, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatalf("toxiproxy: %v", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	if err == nil && response != nil {
		err = json.Unmarshal(answer, response)
	}
	if err != nil {
		p.t.Fatalf("toxiproxy: %s %s: %v", method, path, err)
	}
}
