package remote

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// putPages stores a file of level 0 with pages of one byte, and returns its name.
func putPages(t *testing.T, client *memory.ReplicaClient, txid ltx.TXID, pages uint32, fill byte) view.Key {
	t.Helper()
	contents := make(map[uint32][]byte)
	for pgno := range pages {
		contents[pgno+1] = bytes.Repeat([]byte{fill}, 512)
		for i := range contents[pgno+1][:256] { // hard to compress
			contents[pgno+1][i] = byte(uint32(i)*uint32(i)*2654435761>>13 ^ pgno*40503>>3)
		}
	}
	b := ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: pages, MinTXID: txid, MaxTXID: txid, Timestamp: 1000}, contents, false)
	if _, err := client.WriteLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return view.Key{Level: 0, MinTXID: txid, MaxTXID: txid}
}

// listed returns the only file of level 0.
func listed(t *testing.T, s *Store) *ltx.FileInfo {
	t.Helper()
	files, err := s.List(t.Context(), 0, 0, false)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files[0]
}

// TestLoadNamed loads files that were read by name. Only a whole file in the
// version that is listed is of use.
func TestLoadNamed(t *testing.T) {
	for _, tc := range []struct {
		name   string
		pages  uint32
		change func(t *testing.T, client *memory.ReplicaClient) // after the read, before the listing
		loaded bool
	}{
		{"small file", 3, nil, true},
		{"large file", 600, nil, false},
		{"replaced", 3, func(t *testing.T, c *memory.ReplicaClient) { putPages(t, c, 7, 3, 'b') }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := memory.NewReplicaClient()
			s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
			k := putPages(t, client, 7, tc.pages, 'a')
			f, err := s.ReadNamed(t.Context(), k)
			if err != nil || f == nil {
				t.Fatalf("read by name: %v, %v", f, err)
			}
			if tc.change != nil {
				tc.change(t, client)
			}
			info := listed(t, s)
			reads, _ := s.TotalReads()
			got := s.LoadNamed(f, info)
			if n, _ := s.TotalReads(); n != reads || s.NameReads.Load() != 1 {
				t.Errorf("%d reads, %d by name", n-reads, s.NameReads.Load())
			}
			if (got != nil) != tc.loaded {
				t.Fatalf("loaded: %v, want %v", got != nil, tc.loaded)
			}
			want, err := s.LoadFile(t.Context(), info)
			if err != nil {
				t.Fatal(err)
			}
			if tc.loaded && (got.File.Checksum != want.File.Checksum || *got.File.Version.Load() != *want.File.Version.Load() ||
				got.File.FramesEnd != want.File.FramesEnd || len(got.Pages) != len(want.Pages) || !got.File.IsWhole) {
				t.Errorf("got %+v, want %+v", got.File, want.File)
			}
		})
	}
	s := &Store{Client: memory.NewReplicaClient(), Log: slog.New(slog.DiscardHandler)}
	if f, err := s.ReadNamed(t.Context(), view.Key{Level: 0, MinTXID: 1, MaxTXID: 1}); f != nil || err != nil || s.NameReads.Load() != 1 {
		t.Errorf("a file that does not exist: %v, %v", f, err)
	}
}

// hiding is a replica in memory that does not find files.
type hiding struct {
	*memory.ReplicaClient
	hide   bool
	listed func() // called after the files of a listing are known; nil: nothing
}

func (c *hiding) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	itr, err := c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
	if c.listed != nil {
		c.listed()
	}
	return itr, err
}

func (c *hiding) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if c.hide {
		return nil, fs.ErrNotExist
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// TestStore_HidesListedFile reads by name only as long as the store finds the files
// that it lists. A file that is created after a read, replaced, or deleted after a
// listing proves nothing.
func TestStore_HidesListedFile(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(t *testing.T, s *Store, client *hiding)
		can  bool
	}{
		{"created after the read", func(t *testing.T, s *Store, client *hiding) {
			if _, err := s.ReadNamed(t.Context(), view.Key{Level: 0, MinTXID: 7, MaxTXID: 7}); err != nil {
				t.Fatal(err)
			}
			putPages(t, client.ReplicaClient, 7, 3, 'a')
			listed(t, s)
			listed(t, s)
		}, true},
		{"deleted after the listing", func(t *testing.T, s *Store, client *hiding) {
			putPages(t, client.ReplicaClient, 7, 3, 'a')
			info := listed(t, s)
			if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{info}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.LoadFile(t.Context(), info); err == nil {
				t.Fatal("a deleted file is there")
			}
			putPages(t, client.ReplicaClient, 7, 3, 'b')
			listed(t, s)
		}, true},
		{"deleted during a listing", func(t *testing.T, s *Store, client *hiding) {
			putPages(t, client.ReplicaClient, 7, 3, 'a')
			info := listed(t, s)
			client.listed = func() {
				if err := client.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{info}); err != nil {
					t.Fatal(err)
				}
				if _, err := s.LoadFile(t.Context(), info); err == nil {
					t.Fatal("a deleted file is there")
				}
			}
			listed(t, s)
		}, true},
		{"hidden", func(t *testing.T, s *Store, client *hiding) {
			putPages(t, client.ReplicaClient, 7, 3, 'a')
			info := listed(t, s)
			client.hide = true
			if _, err := s.LoadFile(t.Context(), info); err == nil {
				t.Fatal("a hidden file is there")
			}
			if !s.CanReadByName() {
				t.Error("the file may have been deleted")
			}
			listed(t, s)
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := &hiding{ReplicaClient: memory.NewReplicaClient()}
			s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
			tc.do(t, s, client)
			if got := s.CanReadByName(); got != tc.can {
				t.Errorf("files can be read by name: %v, want %v", got, tc.can)
			}
		})
	}
}

// TestStore_MorePages counts a listing once for each thousand files.
func TestStore_MorePages(t *testing.T) {
	client := memory.NewReplicaClient()
	s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
	for txid := ltx.TXID(1); txid <= 2001; txid++ {
		putPages(t, client, txid, 1, 'a')
		want, ok := map[ltx.TXID]int64{1: 0, 1000: 0, 1001: 1, 2000: 1, 2001: 2}[txid]
		if !ok {
			continue
		}
		before := s.MorePages.Load()
		if _, err := s.List(t.Context(), 0, 1, false); err != nil {
			t.Fatal(err)
		}
		if got := s.MorePages.Load() - before; got != want {
			t.Errorf("%d files: %d requests more than one, want %d", txid, got, want)
		}
	}
}
