package maintain_test

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/memory"
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
