package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	upstreamlib "github.com/benbjohnson/litestream"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/maintain"
	"github.com/ltxvfs/litestream/replica"
)

// checkMaintain restores every transaction as upstream does, byte for byte, from
// the replica and from a copy of it, and verifies both.
func checkMaintain(t *testing.T, p *upstreamPrimary, theirs upstreamlib.ReplicaClient, our replica.Client, theirCopy upstreamlib.ReplicaClient, ourCopy replica.Client) {
	t.Helper()
	if _, err := maintain.Copy(t.Context(), our, ourCopy, maintain.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, client := range []replica.Client{our, ourCopy} {
		r, err := maintain.Verify(t.Context(), client, maintain.VerifyOptions{})
		if err != nil || len(r.Findings) > 0 || r.Newest != p.last().txid {
			t.Errorf("verified %+v, error %v", r, err)
		}
	}
	for _, at := range p.history {
		want := upstreamImage(t, theirs, at.txid)
		if fromCopy := upstreamImage(t, theirCopy, at.txid); !bytes.Equal(fromCopy, want) {
			t.Errorf("transaction %s: upstream restores another database from the copy", at.txid)
		}
		var got bytes.Buffer
		_, err := maintain.RestoreTo(t.Context(), our, &got, maintain.RestoreOptions{At: maintain.Moment{TXID: at.txid}})
		if want == nil {
			if err == nil {
				t.Errorf("transaction %s: restored what upstream cannot", at.txid)
			}
			continue
		}
		if err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("transaction %s: restored %d bytes, error %v, want the %d bytes of upstream", at.txid, got.Len(), err, len(want))
		}
	}
}

// upstreamImage returns what upstream restores of a transaction, nil if it cannot.
func upstreamImage(t *testing.T, client upstreamlib.ReplicaClient, txid ltx.TXID) []byte {
	t.Helper()
	opts := upstreamlib.NewRestoreOptions()
	opts.OutputPath, opts.TXID = filepath.Join(t.TempDir(), "restored.db"), txid
	if err := upstreamlib.NewReplicaWithClient(nil, client).Restore(t.Context(), opts); err != nil {
		t.Logf("upstream: transaction %s: %v", txid, err)
		return nil
	}
	b, err := os.ReadFile(opts.OutputPath)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkImport makes upstream restore a database that was imported.
func checkImport(t *testing.T, p *upstreamPrimary, our, ourImport replica.Client, theirImport upstreamlib.ReplicaClient) {
	t.Helper()
	var image bytes.Buffer
	if _, err := maintain.RestoreTo(t.Context(), our, &image, maintain.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	src, err := maintain.NewFileSource(bytes.NewReader(image.Bytes()), int64(image.Len()))
	if err == nil {
		_, err = maintain.Import(t.Context(), ourImport, src, maintain.ImportOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := upstreamImage(t, theirImport, 1); !bytes.Equal(got, image.Bytes()) {
		t.Errorf("upstream restores %d bytes, want the %d that were imported", len(got), image.Len())
	}
	checkRestore(t, p, theirImport)
}
