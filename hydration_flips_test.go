package litestream

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/memory"
)

var flips = flag.Int("flips", 0, "flipped bits for each size of file in TestHydration_FlippedBits; 0: 100, or 25 with -short")

// flipClient is a replica in which one bit of one file is flipped in every
// read.
type flipClient struct {
	*memory.ReplicaClient
	file   view.Key
	offset int64 // offset of the byte; negative: nothing is flipped
	mask   byte
	bytes  atomic.Int64 // bytes read
}

func (c *flipClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, err
	}
	pos := offset
	if (view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}) != c.file {
		pos = -1 << 40
	}
	return io.NopCloser(readerFunc(func(b []byte) (int, error) {
		n, err := r.Read(b)
		if at := c.offset - pos; c.offset >= 0 && at >= 0 && at < int64(n) {
			b[at] ^= c.mask
		}
		pos += int64(n)
		c.bytes.Add(int64(n))
		return n, err
	})), nil
}

// textPages returns pages whose frames are about half their size and consist
// mostly of literals, so that decoding seldom notices a flipped bit.
func textPages(rng *rand.Rand, pageSize int, pgnos []uint32) map[uint32][]byte {
	pages := make(map[uint32][]byte)
	for _, pgno := range pgnos {
		page := make([]byte, pageSize)
		for i := range page[:pageSize/2] {
			page[i] = 'a' + byte(rng.Uint32N(16))
		}
		if pgno == 1 {
			copy(page, dbheader.SqliteMagic)
			binary.BigEndian.PutUint16(page[dbheader.OffPageSize:], uint16(pageSize))
		}
		pages[pgno] = page
	}
	return pages
}

// putTextPages stores a file of pages, and returns its size.
func putTextPages(t testing.TB, client ReplicaClient, k view.Key, commit uint32, pages map[uint32][]byte) int64 {
	t.Helper()
	hdr := ltx.Header{PageSize: 4096, Commit: commit, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID, Timestamp: int64(k.MaxTXID) * 1000}
	b := ltxtest.EncodeLTX(hdr, pages, false)
	if _, err := client.WriteLTXFile(context.Background(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return int64(len(b))
}

// hydrationEnd hydrates a replica and returns how that ends. It fails the test
// if hydration is complete and a page differs from the expected one.
func hydrationEnd(t *testing.T, client ReplicaClient, want map[uint32][]byte, what string) (HydrationProgress, error) {
	t.Helper()
	ended := make(chan HydrationProgress, 1)
	opts := Options{
		HydrationEnabled: true, PollInterval: -1, Logger: slog.New(slog.DiscardHandler),
		OnHydrationProgress: func(p HydrationProgress) {
			if p.Status == HydrationComplete || p.Status == HydrationFailed {
				select {
				case ended <- p:
				default:
				}
			} else if p.Progress >= 100 {
				t.Errorf("%s: progress is 100 before it is complete: %+v", what, p)
			}
		},
	}
	db, err := openAlone(context.Background(), "app.db", client, opts.withDefaults(), nil)
	if err != nil {
		return HydrationProgress{Status: HydrationFailed}, err
	}
	defer db.close(context.Background())
	p := <-ended
	if p.Status != HydrationComplete {
		return p, errors.New(p.Error)
	}
	v := db.Current.Load()
	for pgno, page := range want {
		got := make([]byte, len(page))
		if !db.hydrator.Tier.ReadView(v, pgno, got) {
			t.Errorf("%s: page %d is not local", what, pgno)
		} else if !bytes.Equal(got, page) {
			t.Errorf("%s: hydration is complete, and page %d is wrong", what, pgno)
			break
		}
	}
	return p, nil
}

// TestHydration_FlippedBits flips bits of a snapshot. Newer files supersede a
// few of its pages. Hydration never completes with a wrong page, and completes
// without a flip. The flag -flips sets the number of flipped bits.
func TestHydration_FlippedBits(t *testing.T) {
	testscale.NeedsNoRace(t, "it repeats what TestHydration_ChecksumMismatch does once")
	for i, size := range []int{64 << 10, 128 << 10, 200 << 10, 400 << 10, 800 << 10, 2 << 20, 5 << 20, 16 << 20} {
		t.Run(fmt.Sprintf("%dKiB", size>>10), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			commit := uint32(size / 2150)
			inner := memory.NewReplicaClient()
			snapshot := view.Key{Level: SnapshotLevel, MinTXID: 1, MaxTXID: 1}
			want := textPages(rng, 4096, pgnoRange(1, commit))
			total := putTextPages(t, inner, snapshot, commit, want)
			var few []uint32
			for pgno := uint32(7); pgno <= commit; pgno += 60 {
				few = append(few, pgno)
			}
			news := textPages(rng, 4096, few)
			total += putTextPages(t, inner, view.Key{Level: 0, MinTXID: 2, MaxTXID: 2}, commit, news)
			for pgno, page := range news {
				want[pgno] = page
			}
			client := &flipClient{ReplicaClient: inner, file: snapshot, offset: -1}
			p, err := hydrationEnd(t, client, want, "intact")
			if err != nil || p.Pages != int64(commit) || p.Progress != 100 {
				t.Fatalf("intact: %+v, error %v", p, err)
			}
			if n := client.bytes.Load(); n > total*105/100+128<<10 {
				t.Errorf("%d bytes were read of %d", n, total)
			}
			n := cmp.Or(*flips, testscale.Repeats(100))
			for k := range n {
				client := &flipClient{ReplicaClient: inner, file: snapshot, mask: 1 << rng.Uint32N(8)}
				frames := int64(size) * 96 / 100
				client.offset = ltx.HeaderSize + (frames*int64(k)+rng.Int64N(frames))/int64(n)
				what := fmt.Sprintf("bit %#x of byte %d", client.mask, client.offset)
				if _, err := hydrationEnd(t, client, want, what); err != nil && !strings.Contains(err.Error(), snapshot.String()) {
					t.Errorf("%s: the error does not name the file: %v", what, err)
				}
			}
		})
	}
}
