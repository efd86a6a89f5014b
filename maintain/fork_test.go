package maintain_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
	"github.com/ltxvfs/litestream/replica"
)

// A fork has the state, and nothing of what came later.
func TestFork(t *testing.T) {
	b, newest := large(t)
	txids := []ltx.TXID{5, 8, 9, 10}
	if testscale.Race {
		txids = []ltx.TXID{9}
	}
	for _, txid := range txids {
		want, err := b.image(txid)
		if err != nil {
			t.Fatal(err)
		}
		to := memory.NewReplicaClient()
		r, err := maintain.Fork(t.Context(), b, to, maintain.ForkOptions{At: maintain.Moment{TXID: txid}})
		if err != nil || r.Newest != txid {
			t.Fatalf("transaction %s: forked %+v, error %v", txid, r, err)
		}
		var got bytes.Buffer
		if _, err := maintain.RestoreTo(t.Context(), to, &got, maintain.RestoreOptions{}); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("transaction %s: the fork has another state, error %v", txid, err)
		}
		if report, err := maintain.Verify(t.Context(), to, maintain.VerifyOptions{}); err != nil || len(report.Findings) > 0 {
			t.Errorf("transaction %s: verified %+v, error %v", txid, report, err)
		}
		if txid == 10 && !bytes.Equal(got.Bytes(), newest) {
			t.Error("the newest state is another one")
		}
		if _, err := maintain.Fork(t.Context(), b, to, maintain.ForkOptions{}); !errors.Is(err, fs.ErrExist) {
			t.Errorf("once more: error %v, want fs.ErrExist", err)
		}
	}
	if _, err := maintain.Fork(t.Context(), b, memory.NewReplicaClient(), maintain.ForkOptions{At: maintain.Moment{TXID: 7}}); !errors.Is(err, errs.ErrTxNotAvailable) {
		t.Errorf("error %v, want ErrTxNotAvailable", err)
	}
}

// A fork does not begin where something else lies.
func TestFork_Refuses(t *testing.T) {
	dir := parent(t)
	to := file.NewReplicaClient(dir)
	if r, err := maintain.Fork(t.Context(), layered(t), to, maintain.ForkOptions{}); !errors.Is(err, fs.ErrExist) || len(read(t, to)) > 0 {
		t.Errorf("%+v, error %v, want fs.ErrExist", r, err)
	}
}

// Once a fork was written to, nothing is copied to it from where it comes from.
func TestFork_Apart(t *testing.T) {
	b, _ := large(t)
	to := memory.NewReplicaClient()
	if _, err := maintain.Fork(t.Context(), b, to, maintain.ForkOptions{At: maintain.Moment{TXID: 9}}); err != nil {
		t.Fatal(err)
	}
	key := view.Key{MinTXID: 10, MaxTXID: 10}
	other := reencode(t, b[key], func(h *ltx.Header) { h.Timestamp++ })
	if _, err := to.WriteLTXFile(t.Context(), 0, 10, 10, bytes.NewReader(other)); err != nil {
		t.Fatal(err)
	}
	before := read(t, to)
	if _, err := maintain.Copy(t.Context(), b, to, maintain.CopyOptions{}); !errors.Is(err, errs.ErrConflict) || !read(t, to).equal(before) {
		t.Errorf("error %v, want ErrConflict", err)
	}
}

// copying is a memory store that counts what is read of it, and what it copies by
// itself.
type copying struct {
	*memory.ReplicaClient
	read   *atomic.Int64
	copies *atomic.Int64
	err    error // of copies
}

func newCopying(store *memory.ReplicaClient, err error) copying {
	return copying{store, new(atomic.Int64), new(atomic.Int64), err}
}

func (c copying) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	c.read.Add(int64(len(b)))
	return io.NopCloser(bytes.NewReader(b)), errors.Join(err, r.Close())
}

func (c copying) CopyLTXFile(ctx context.Context, from replica.Client, level int, minTXID, maxTXID ltx.TXID) (*ltx.FileInfo, error) {
	other, ok := from.(copying)
	if !ok || c.err != nil {
		return nil, cmp.Or(c.err, errors.ErrUnsupported)
	}
	c.copies.Add(1)
	return c.ReplicaClient.CopyLTXFile(ctx, other.ReplicaClient, level, minTXID, maxTXID)
}

// The bytes of large files stay in a store that copies them by itself. Where it
// cannot, they pass through.
func TestFork_Inside(t *testing.T) {
	b, want := large(t)
	var small, large int64 // bytes of the files, by the size up to which they pass through
	for _, body := range b {
		if len(body) > 1<<20 {
			large += int64(len(body))
		} else {
			small += int64(len(body))
		}
	}
	for i, tt := range []struct {
		name   string
		err    error
		inside bool
	}{{"inside", nil, true}, {"unsupported", errors.ErrUnsupported, false}, {"no permission", fs.ErrPermission, false}, {"failure", errors.New("slow down"), false}} {
		if testscale.LeavesOut(i, 3) {
			continue
		}
		from, to := newCopying(b.stored(t), nil), newCopying(memory.NewReplicaClient(), tt.err)
		var last maintain.Progress
		r, err := maintain.Fork(t.Context(), from, to, maintain.ForkOptions{Requests: maintain.Requests{Progress: func(p maintain.Progress) { last = p }}})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		read := from.read.Load()
		if tt.inside && (r.Inside != large || read > small+large/20) || !tt.inside && (r.Inside != 0 || read < small+large) {
			t.Errorf("%s: read %d bytes of small files with %d and large ones with %d, and %d were copied inside", tt.name, read, small, large, r.Inside)
		}
		if r.Bytes != small+large || last.Bytes != last.AllBytes || last.Files != last.AllFiles {
			t.Errorf("%s: forked %+v, progress ends with %+v", tt.name, r, last)
		}
		var got bytes.Buffer
		if _, err := maintain.RestoreTo(t.Context(), to, &got, maintain.RestoreOptions{}); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: the fork has another state, error %v", tt.name, err)
		}
	}
	// A copy reads and verifies every byte.
	from, to := newCopying(b.stored(t), nil), newCopying(memory.NewReplicaClient(), nil)
	if _, err := maintain.Copy(t.Context(), from, to, maintain.CopyOptions{}); err != nil || to.copies.Load() > 0 {
		t.Errorf("a copy was made by the store, error %v", err)
	}
}
