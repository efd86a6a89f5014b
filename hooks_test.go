package litestream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// hookClient is a replica in memory that calls its hooks where they are not
// nil. Hooks are set while no other goroutine uses the client.
type hookClient struct {
	*memory.ReplicaClient
	listed func()                      // called after all levels are listed, before the listing returns
	open   func(view.Key, int64) error // called before a read from an offset; its error fails the read
	fetch  func(k view.Key, off int64) // called after a read, before the read returns
	lists  atomic.Int64                // listings of all levels
	opens  atomic.Int64
}

func newHookClient() *hookClient { return &hookClient{ReplicaClient: memory.NewReplicaClient()} }

func (c *hookClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	c.lists.Add(1)
	itr, err := c.ReplicaClient.AllLTXFiles(ctx, useMetadata)
	if c.listed != nil {
		c.listed()
	}
	return itr, err
}

func (c *hookClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c.opens.Add(1)
	k := view.Key{Level: level, MinTXID: minTXID, MaxTXID: maxTXID}
	if c.open != nil {
		if err := c.open(k, offset); err != nil {
			return nil, err
		}
	}
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil || c.fetch == nil {
		return r, err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	c.fetch(k, offset)
	return io.NopCloser(bytes.NewReader(body)), nil
}

// remove deletes files, named by their keys.
func (c *hookClient) remove(t testing.TB, keys ...view.Key) {
	t.Helper()
	for _, k := range keys {
		if err := c.DeleteLTXFiles(t.Context(), []*ltx.FileInfo{{Level: k.Level, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID}}); err != nil {
			t.Fatal(err)
		}
	}
}

// openAlone is openDatabase for an open that no connection waits for.
func openAlone(ctx context.Context, name string, client ReplicaClient, opts Options, limit *remote.Limiter) (*database, error) {
	return openDatabase(ctx, name, client, opts, limit, newOpening(name, opts.Logger))
}

// fakePageSize is the page size of the files that putFile makes.
const fakePageSize = 512

// putFile stores a file that no primary wrote. Its pages are filled with the
// byte fill, in a database of commit pages.
func putFile(t testing.TB, client ReplicaClient, k view.Key, commit uint32, fill byte, pgnos []uint32) {
	t.Helper()
	pages := make(map[uint32][]byte)
	for _, pgno := range pgnos {
		pages[pgno] = fakePage(pgno, fill)
	}
	b := ltxtest.EncodeLTX(ltx.Header{
		PageSize: fakePageSize, Commit: commit, MinTXID: k.MinTXID, MaxTXID: k.MaxTXID, Timestamp: int64(k.MaxTXID) * 1000,
	}, pages, false)
	if _, err := client.WriteLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

func fakePage(pgno uint32, fill byte) []byte {
	page := bytes.Repeat([]byte{fill}, fakePageSize)
	if pgno == 1 {
		copy(page, "SQLite format 3\x00\x02\x00")
	}
	return page
}

// pgnoRange returns the page numbers from first to last.
func pgnoRange(first, last uint32) (pgnos []uint32) {
	for pgno := first; pgno <= last; pgno++ {
		pgnos = append(pgnos, pgno)
	}
	return pgnos
}

// openHere opens a database without a VFS. It is closed when the test ends.
func openHere(t *testing.T, client ReplicaClient, opts Options) *database {
	t.Helper()
	opts.Logger = slog.New(slog.DiscardHandler)
	db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return db
}

// bodyClient is a hookClient that passes each body through a function.
type bodyClient struct {
	*hookClient
	through func(ctx context.Context, off int64, r io.Reader) io.Reader
}

func (c *bodyClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	r, err := c.hookClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil || c.through == nil {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{c.through(ctx, offset, r), r}, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// encodeAgain replaces all files by equal ones in the other encoding.
func encodeAgain(t *testing.T, client ReplicaClient) {
	t.Helper()
	files, err := (&remote.Store{Client: client}).ListAll(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range files {
		r, err := client.OpenLTXFile(t.Context(), info.Level, info.MinTXID, info.MaxTXID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		dec := ltx.NewDecoder(r)
		if err := dec.DecodeHeader(); err != nil {
			t.Fatal(err)
		}
		pages := make(map[uint32][]byte)
		for {
			var hdr ltx.PageHeader
			page := make([]byte, dec.Header().PageSize)
			if err := dec.DecodePage(&hdr, page); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			pages[hdr.Pgno] = page
		}
		if err := errors.Join(dec.Close(), r.Close()); err != nil {
			t.Fatal(err)
		}
		b := ltxtest.EncodeLTX(dec.Header(), pages, true)
		if int64(len(b)) == info.Size {
			t.Fatalf("%s has the same size again", view.KeyOf(info))
		}
		if _, err := client.WriteLTXFile(t.Context(), info.Level, info.MinTXID, info.MaxTXID, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
}

// putLTX stores a file. It adds the transactions to the header.
func putLTX(t testing.TB, client ReplicaClient, k view.Key, hdr ltx.Header, pages map[uint32][]byte) {
	t.Helper()
	hdr.MinTXID, hdr.MaxTXID = k.MinTXID, k.MaxTXID
	b := ltxtest.EncodeLTX(hdr, pages, false)
	if _, err := client.WriteLTXFile(t.Context(), k.Level, k.MinTXID, k.MaxTXID, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

// countReads returns the number of read requests so far, with those by name.
func countReads(s *remote.Store) int64 {
	n, _ := s.TotalReads()
	return n + s.NameReads.Load()
}
