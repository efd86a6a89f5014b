package remote

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// slowClient answers each read after a time, with bytes that come at a rate.
type slowClient struct {
	*memory.ReplicaClient
	latency time.Duration
	rate    float64 // bytes a second; 0: at once
}

func (c *slowClient) OpenLTXFile(_ context.Context, _ int, _, _ ltx.TXID, _, size int64) (io.ReadCloser, error) {
	time.Sleep(c.latency)
	return io.NopCloser(&slowBody{left: size, rate: c.rate}), nil
}

type slowBody struct {
	left int64
	rate float64
}

func (b *slowBody) Read(p []byte) (int, error) {
	n := min(int64(len(p)), b.left)
	if n == 0 {
		return 0, io.EOF
	}
	if b.rate > 0 {
		time.Sleep(time.Duration(float64(n) / b.rate * 1e9))
	}
	b.left -= n
	return int(n), nil
}

// TestSpeed reads small and large bodies from stores of different speeds.
func TestSpeed(t *testing.T) {
	for _, tc := range []struct {
		name     string
		client   slowClient
		sizes    []int
		class    Class
		from, to int64
	}{
		{"before the first read", slowClient{}, nil, Foreground, 0, 0},
		{"without latency", slowClient{}, []int{1000, 100_000}, Foreground, 0, maxFree},
		{"small reads only", slowClient{latency: 20 * time.Millisecond}, []int{1000, 1000, 1000}, Foreground, 399_000, 401_000},
		{"80 MB/s", slowClient{latency: 20 * time.Millisecond, rate: 80e6}, []int{1000, 200_000, 500_000, 1000}, Foreground, 1_590_000, 1_620_000},
		{"80 MB/s, 4 ms", slowClient{latency: 4 * time.Millisecond, rate: 80e6}, []int{1000, 200_000, 500_000, 1000}, Foreground, 310_000, 340_000},
		{"5 MB/s", slowClient{latency: 50 * time.Millisecond, rate: 5e6}, []int{200_000, 1000, 1000}, Speculative, 245_000, 260_000},
		{"far away", slowClient{latency: time.Second, rate: 80e6}, []int{200_000}, Foreground, maxFree, maxFree},
		{"hydration says nothing", slowClient{latency: 20 * time.Millisecond}, []int{1000, 500_000}, Hydrating, 0, 0},
		{"the newest reads count", slowClient{latency: 20 * time.Millisecond, rate: 80e6}, append([]int{900_000}, make([]int, 2*speedSamples)...), Foreground, 1_590_000, 1_620_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Store{Client: &tc.client}
				for i, n := range tc.sizes {
					if i == 1 && len(tc.sizes) > speedSamples {
						tc.client.latency = 20 * time.Millisecond
					} else if len(tc.sizes) > speedSamples && i == 0 {
						tc.client.latency = time.Minute
					}
					if _, err := s.ReadOnce(t.Context(), tc.class, nil, view.Key{}, make([]byte, max(n, 100)), 0, nil); err != nil {
						t.Fatal(err)
					}
				}
				if got := s.Speed.Free(); got < tc.from || got > tc.to {
					t.Errorf("%d bytes are free, want %d to %d", got, tc.from, tc.to)
				}
			})
		})
	}
}
