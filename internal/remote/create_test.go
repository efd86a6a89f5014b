package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// onlyWrites is a replica in memory that cannot create a file only if there is none.
// Its reads fail with err, if that is set, and end after some bytes.
type onlyWrites struct {
	*memory.ReplicaClient
	err   error
	short int64 // number of bytes that reads return at most; 0: all
}

func (onlyWrites) CreateLTXFile(context.Context, int, ltx.TXID, ltx.TXID, io.Reader) (*ltx.FileInfo, error) {
	return nil, errors.ErrUnsupported
}

func (c *onlyWrites) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.short > 0 {
		size = min(size, c.short)
	}
	return c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}

// TestStore_Create creates files of which some exist. None is overwritten, whether the
// store can tell by itself or has to be read.
func TestStore_Create(t *testing.T) { synctest.Test(t, testCreate) }

func testCreate(t *testing.T) {
	body := ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: 1, MinTXID: 1, MaxTXID: 1, Timestamp: 1}, map[uint32][]byte{1: make([]byte, 512)}, false)
	encode := func(w io.Writer) error {
		_, err := w.Write(body)
		return err
	}
	key := view.Key{MinTXID: 1, MaxTXID: 1}
	for _, canCreate := range []bool{true, false} {
		for _, tt := range []struct {
			name     string
			existing []byte // nil: there is no file
			reads    error  // error of reads
			short    int64  // number of bytes that reads return; 0: all
			want     error
		}{
			{name: "no file", want: nil},
			{name: "a file", existing: body, want: fs.ErrExist},
			{name: "a file that has its header only", existing: body[:ltx.HeaderSize], want: fs.ErrExist},
			{name: "a file that ends in its header", existing: body, short: 10, want: fs.ErrExist},
			{name: "it is not known whether there is one", reads: fs.ErrPermission, want: fs.ErrPermission},
		} {
			if canCreate && tt.reads != nil {
				continue // it does not read
			}
			client := &onlyWrites{memory.NewReplicaClient(), tt.reads, tt.short}
			s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
			if canCreate {
				s.Client = client.ReplicaClient
			}
			if tt.existing != nil {
				if _, err := client.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(tt.existing)); err != nil {
					t.Fatal(err)
				}
			}
			info, err := s.Create(t.Context(), key, encode)
			if !errors.Is(err, tt.want) || err == nil && (info == nil || info.Size != int64(len(body)) || view.KeyOf(info) != key) {
				t.Errorf("%s, creates %v: %+v, %v", tt.name, canCreate, info, err)
			}
			if err == nil && s.CreateBytes.Load() != int64(len(body)) {
				t.Errorf("%s, creates %v: %d bytes of %d count", tt.name, canCreate, s.CreateBytes.Load(), len(body))
			}
			client.err, client.short = nil, 0
			want := tt.existing
			if tt.want == nil {
				want = body
			}
			var got []byte
			r, err := client.OpenLTXFile(t.Context(), 0, 1, 1, 0, 0)
			if err == nil {
				got, err = io.ReadAll(r)
			}
			if !bytes.Equal(got, want) || err != nil && want != nil {
				t.Errorf("%s, creates %v: there are %d bytes, want %d: %v", tt.name, canCreate, len(got), len(want), err)
			}
		}
	}
}

// noRoom is a client that takes the first bytes of a file.
type noRoom struct{ *memory.ReplicaClient }

func (noRoom) CreateLTXFile(_ context.Context, _ int, _, _ ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		return nil, err
	}
	return nil, syscall.ENOSPC
}

// If the store takes no more of a file, the rest of it is not encoded.
func TestStore_CreateEnds(t *testing.T) {
	s := &Store{Client: noRoom{memory.NewReplicaClient()}, Log: slog.New(slog.DiscardHandler)}
	writes := 0
	_, err := s.Create(t.Context(), view.Key{MinTXID: 1, MaxTXID: 1}, func(w io.Writer) error {
		for ; writes < 100; writes++ {
			if _, err := w.Write(make([]byte, 10)); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, syscall.ENOSPC) || writes != 1 {
		t.Errorf("%d writes of 10 bytes, %v", writes, err)
	}
	if n := s.CreateBytes.Load(); n != 10 {
		t.Errorf("%d bytes count", n)
	}
}

// A copy has the bytes of the listed file, or says why there is none.
func TestStore_Copy(t *testing.T) {
	client := memory.NewReplicaClient()
	putPages(t, client, 1, 3, 7)
	from := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
	to := &Store{Client: memory.NewReplicaClient(), Log: slog.New(slog.DiscardHandler)}
	info := listed(t, from)
	if err := to.Copy(t.Context(), from, info); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, to); got.Size != info.Size || view.KeyOf(got) != view.KeyOf(info) {
		t.Errorf("copied %+v as %+v", info, got)
	}
	if err := to.Copy(t.Context(), from, info); !errors.Is(err, fs.ErrExist) {
		t.Errorf("again: %v", err)
	}
	if err := to.Copy(t.Context(), from, &ltx.FileInfo{MinTXID: 2, MaxTXID: 2, Size: info.Size}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	to.Client = struct{ replica.Client }{to.Client}
	if err := to.Copy(t.Context(), from, info); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a client that cannot copy: %v", err)
	}
}
