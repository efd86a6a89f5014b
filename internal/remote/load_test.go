package remote

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// slowFirst is a replica in memory where a read of the file with transaction 1
// takes a second.
type slowFirst struct {
	*memory.ReplicaClient
	opens, held atomic.Int64 // reads, and how many there were when that second had passed
}

func (c *slowFirst) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c.opens.Add(1)
	if minTXID == 1 {
		time.Sleep(time.Second)
		c.held.Store(c.opens.Load())
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// TestPromise8_MuchNews loads far more files than may be held at a time. The
// first file takes longest, and no other file can be used before it.
func TestPromise8_MuchNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const files = 10 * loadConcurrency
		client := &slowFirst{ReplicaClient: memory.NewReplicaClient()}
		for txid := ltx.TXID(1); txid <= files; txid++ {
			hdr := ltx.Header{PageSize: 512, Commit: 3, MinTXID: txid, MaxTXID: txid, Timestamp: int64(txid)}
			pages := map[uint32][]byte{2: make([]byte, 512), 3: make([]byte, 512)}
			if txid == 1 {
				pages[1] = make([]byte, 512)
			}
			b := ltxtest.EncodeLTX(hdr, pages, false)
			if _, err := client.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
		s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
		infos, err := s.ListAll(t.Context(), false)
		if err != nil {
			t.Fatal(err)
		}
		used := ltx.TXID(0)
		if err := s.LoadFiles(t.Context(), infos, func(l *Loaded) error {
			used++
			if l.File.MinTXID != used {
				t.Errorf("%s is used as number %d", l.File, used)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n := client.held.Load(); n == 0 || n > loadConcurrency {
			t.Errorf("%d files are held at a time, want at most %d", n, loadConcurrency)
		}
		if used != files {
			t.Errorf("%d of %d files are used", used, files)
		}
	})
}

// TestPromise8_ListedSize has a listing say that a file is huge. The size
// alone makes the store allocate nothing.
func TestPromise8_ListedSize(t *testing.T) {
	client := readClient{memory.NewReplicaClient(), func(int64, int64) (io.ReadCloser, error) { return nil, fs.ErrPermission }}
	s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := s.LoadFile(t.Context(), &ltx.FileInfo{Level: 0, MinTXID: 1, MaxTXID: 1, Size: 64 << 30})
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("a file that cannot be read is loaded")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 2*maxTailRead {
		t.Errorf("%d bytes allocated for a size that only a listing says", n)
	}
}
