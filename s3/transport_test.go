package s3_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"golang.org/x/sync/errgroup"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/s3"
)

// counted has a transport count the connections it opens.
func counted(tr *http.Transport, n *atomic.Int64) *http.Transport {
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		n.Add(1)
		return dial(ctx, network, addr)
	}
	return tr
}

// readMany opens a database, as it were, and then reads many pages of it.
func readMany(t testing.TB, c *s3.ReplicaClient) {
	t.Helper()
	for _, wave := range []struct{ reads, atOnce int }{{34, 34}, {1000, 64}} {
		var group errgroup.Group
		group.SetLimit(wave.atOnce)
		for i := range wave.reads {
			group.Go(func() error {
				b, err := read(t.Context(), c, 0, 1, int64(i), 1000)
				if err == nil && len(b) != 1000 {
					err = fmt.Errorf("got %d bytes", len(b))
				}
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}

// Connections are used again. There may be some more of them than reads at once:
// net/http opens one while another is about to be free.
func TestConnections(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	path := newPath()
	write(t, s.client(t, path, nil), 0, 1, file(t, 1, 256<<10))
	for _, tt := range []struct {
		name string
		tr   *http.Transport
		most int64 // 0: any
	}{
		{"ours", clientio.NewTransport(nil), 2 * 64},
		{"the SDK's", awshttp.NewBuildableClient().GetTransport(), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var opened atomic.Int64
			tr := counted(tt.tr, &opened)
			defer tr.CloseIdleConnections()
			readMany(t, s.client(t, path, tr))
			t.Logf("%d connections for 1,034 reads", opened.Load())
			if tt.most > 0 && opened.Load() > tt.most {
				t.Errorf("%d connections, want at most %d", opened.Load(), tt.most)
			}
		})
	}
}

func BenchmarkReads(b *testing.B) {
	s := testServer(b)
	path := newPath()
	write(b, s.client(b, path, nil), 0, 1, file(b, 1, 256<<10))
	for name, tr := range map[string]*http.Transport{
		"ours": clientio.NewTransport(nil), "sdk": awshttp.NewBuildableClient().GetTransport(),
	} {
		b.Run(name, func(b *testing.B) {
			var opened atomic.Int64
			c := s.client(b, path, counted(tr, &opened))
			defer tr.CloseIdleConnections()
			for b.Loop() {
				readMany(b, c)
			}
			b.ReportMetric(float64(opened.Load())/float64(b.N), "connections/op")
		})
	}
}
