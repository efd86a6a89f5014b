//go:build unix

package gs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/gs"
	"github.com/ltxvfs/litestream/internal/storetest"
)

// BenchmarkHTTP compares the two versions of HTTP over TLS and 20 ms of
// latency: what opening a database asks for, what random reads do, and what a
// copy of all does. The CPU time is that of client and server. Toxiproxy delays
// bytes, but its links lose none and have no congestion windows.
func BenchmarkHTTP(b *testing.B) {
	for _, tt := range []struct {
		name  string
		http2 bool
	}{{"1.1", false}, {"2", true}} {
		b.Run(tt.name, func(b *testing.B) {
			client, dials := benchmarkClient(b, tt.http2)
			for b.Loop() {
				c := client()
				for _, phase := range []struct {
					name                     string
					reads, size, concurrency int64
				}{
					{"open", 34, 64 << 10, 34},
					{"random", 1000, 4 << 10, 64},
					{"again", 1000, 4 << 10, 64}, // with all connections that it takes
					{"copy", 128, 512 << 10, 8},
				} {
					start, cpu, dialed := time.Now(), cpuTime(b), dials.Load()
					if err := readRanges(b.Context(), c, phase.reads, phase.size, int(phase.concurrency)); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(time.Since(start).Milliseconds()), phase.name+"-ms")
					b.ReportMetric(float64((cpuTime(b) - cpu).Milliseconds()), phase.name+"-cpu-ms")
					b.ReportMetric(float64(dials.Load()-dialed), phase.name+"-dials")
				}
			}
			b.ReportMetric(0, "ns/op") // three things are timed, not one
		})
	}
}

// benchmarkClient returns what makes clients without connections, of a server
// of one object of 64 MiB, and how often they dialed.
func benchmarkClient(b *testing.B, http2 bool) (func() *gs.ReplicaClient, *atomic.Int64) {
	object := bytes.Repeat([]byte("0123456789abcdef"), 4<<20)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
	}))
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	b.Cleanup(s.Close)
	proxy := storetest.NewProxy(b, s.Listener.Addr().String())
	proxy.Add(storetest.Toxic{Type: "latency", Attributes: map[string]any{"latency": 20}})
	b.Setenv("STORAGE_EMULATOR_HOST", s.URL) // https, and no credentials
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	var dials atomic.Int64
	return func() *gs.ReplicaClient {
		tr := proxy.Transport()
		tr.TLSClientConfig = &tls.Config{RootCAs: pool}
		tr.ForceAttemptHTTP2 = http2
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return proxy.Dial(ctx, network, addr)
		}
		return &gs.ReplicaClient{Bucket: "bucket", Transport: tr}
	}, &dials
}

// readRanges reads ranges, far apart unless they are all.
func readRanges(ctx context.Context, c *gs.ReplicaClient, reads, size int64, concurrency int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for i := range reads {
		group.Go(func() error {
			r, err := c.OpenLTXFile(ctx, 0, 1, 1, i*(64<<20)/reads, size)
			if err != nil {
				return err
			}
			defer r.Close()
			_, err = io.Copy(io.Discard, r)
			return err
		})
	}
	return group.Wait()
}

func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
