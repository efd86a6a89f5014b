package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
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

// TestLoadFile loads a file that is read whole, and one of which the ends are read. Each
// comes with the pages at its head, and with the sum of its frames.
func TestLoadFile(t *testing.T) {
	for _, pages := range []uint32{10, 1000} {
		client := memory.NewReplicaClient()
		putPages(t, client, 2, pages, 7)
		s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
		info := listed(t, s)
		body := make([]byte, info.Size)
		if err := s.Load(t.Context(), view.KeyOf(info), body, 0); err != nil {
			t.Fatal(err)
		}
		file, err := ltxio.ParseFile(body, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.LoadFile(t.Context(), info)
		if err != nil {
			t.Fatal(err)
		}
		if isWhole := info.Size <= wholeSize; l.File.IsWhole != isWhole || isWhole != (pages == 10) {
			t.Fatalf("a file of %d bytes is read whole: %v", info.Size, l.File.IsWhole)
		}
		var sum ltxio.Sum
		inHead := 0
		file.Index.Each(func(e ltxio.Entry) bool {
			frame, page := body[e.Offset:e.Offset+int64(e.Size)], make([]byte, 512)
			if err := ltxio.DecodeFrame(page, frame, e.Pgno); err != nil {
				t.Fatal(err)
			}
			sum.AddFrame(frame, page)
			if e.Offset+int64(e.Size) <= headSize {
				if inHead++; len(l.Pages) < inHead || l.Pages[inHead-1].Pgno != e.Pgno || !bytes.Equal(l.Pages[inHead-1].Data, page) {
					t.Fatalf("page %d is not loaded with the file", e.Pgno)
				}
			}
			return true
		})
		if len(l.Pages) != inHead || inHead < 10 {
			t.Errorf("%d pages are loaded of %d at the head", len(l.Pages), inHead)
		}
		if !l.File.HasFrames(sum) || l.File.HasFrames(ltxio.Sum{}) {
			t.Errorf("%d pages: the file does not have the sum of its frames", pages)
		}
	}
}

// A file is not loaded if one of its ends cannot be read, or is damaged.
func TestLoadFile_Fails(t *testing.T) {
	client := memory.NewReplicaClient()
	key := putPages(t, client, 2, 1000, 7)
	s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
	info := listed(t, s)
	body := make([]byte, info.Size)
	if err := s.Load(t.Context(), key, body, 0); err != nil {
		t.Fatal(err)
	}
	tail, err := ltxio.TailSize(body, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		fails  func(offset int64) bool
		damage int64 // of which byte; 0: none
		want   error
	}{
		{"the head cannot be read", func(offset int64) bool { return offset == 0 }, 0, fs.ErrPermission},
		{"the tail cannot be read", func(offset int64) bool { return offset > 0 }, 0, fs.ErrPermission},
		{"the first entry is damaged", func(int64) bool { return false }, info.Size - tail + ltx.PageHeaderSize, errs.ErrCorrupt},
		{"the trailer is damaged", func(int64) bool { return false }, info.Size - ltx.ChecksumSize, errs.ErrCorrupt},
		{"the header is damaged", func(int64) bool { return false }, 4, errs.ErrCorrupt},
	} {
		b := bytes.Clone(body)
		if tt.damage > 0 {
			b[tt.damage] ^= 0xff
		}
		s := &Store{Log: slog.New(slog.DiscardHandler), Client: readClient{client, func(offset, size int64) (io.ReadCloser, error) {
			if tt.fails(offset) {
				return nil, fs.ErrPermission
			}
			return io.NopCloser(bytes.NewReader(b[offset : offset+size])), nil
		}}}
		if l, err := s.LoadFile(t.Context(), info); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v", tt.name, l, err)
		}
	}
}
