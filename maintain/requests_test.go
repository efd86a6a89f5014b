package maintain_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// slow is a store in which each read takes a second. It counts those in flight.
type slow struct {
	writable
	now, most *atomic.Int64
}

func (s slow) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	time.Sleep(time.Second)
	return s.writable.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// No operation has more reads in flight than it is told.
func TestRequests_Concurrency(t *testing.T) {
	few, _ := large(t) // and large
	many := layered(t)
	for name, run := range map[string]func(ctx context.Context, client replica.Client, path string, r maintain.Requests) error{
		"restore": func(ctx context.Context, client replica.Client, path string, r maintain.Requests) error {
			_, err := maintain.Restore(ctx, client, path, maintain.RestoreOptions{Requests: r})
			return err
		},
		"verify": func(ctx context.Context, client replica.Client, _ string, r maintain.Requests) error {
			_, err := maintain.Verify(ctx, client, maintain.VerifyOptions{Requests: r})
			return err
		},
		"copy": func(ctx context.Context, client replica.Client, _ string, r maintain.Requests) error {
			_, err := maintain.Copy(ctx, client, memory.NewReplicaClient(), maintain.CopyOptions{Requests: r})
			return err
		},
		"snapshot": func(ctx context.Context, client replica.Client, _ string, r maintain.Requests) error {
			_, err := maintain.Snapshot(ctx, client, maintain.SnapshotOptions{Requests: r})
			return err
		},
		"inspect": func(ctx context.Context, client replica.Client, _ string, r maintain.Requests) error {
			_, err := maintain.Inspect(ctx, client, r)
			return err
		},
		"prune": func(ctx context.Context, client replica.Client, _ string, r maintain.Requests) error {
			_, err := maintain.Prune(ctx, client, maintain.PruneOptions{Requests: r, Keep: maintain.Keep{Last: 1}, WriterMayRun: true})
			return err
		},
	} {
		for _, b := range []bucket{few, many} {
			for _, concurrency := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s of %d files, %d at a time", name, len(b), concurrency), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "app.db")
					synctest.Test(t, func(t *testing.T) {
						client := slow{writable{maps.Clone(b)}, new(atomic.Int64), new(atomic.Int64)}
						if err := run(t.Context(), client, path, maintain.Requests{Concurrency: concurrency}); err != nil {
							t.Fatal(err)
						}
						if most := client.most.Load(); most > int64(concurrency) {
							t.Errorf("%d reads are in flight", most)
						}
					})
				})
			}
		}
	}
}
