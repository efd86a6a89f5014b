package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	upstreamlib "github.com/benbjohnson/litestream"
	upstreamfile "github.com/benbjohnson/litestream/file"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testscale"
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

// Every transaction of random histories, with compaction, snapshots and retention, is
// restored as upstream restores it.
func TestInteropMaintain_Histories(t *testing.T) {
	histories := testscale.Repeats(20)
	for seed := range uint64(histories) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			theirDir, copyDir := filepath.Join(t.TempDir(), "theirs"), filepath.Join(t.TempDir(), "copy")
			p := newUpstreamPrimary(t, upstreamfile.NewReplicaClient(theirDir))
			makeRandomHistory(t, p, rand.New(rand.NewPCG(seed, 18)))
			checkMaintain(t, p, upstreamfile.NewReplicaClient(theirDir), file.NewReplicaClient(theirDir),
				upstreamfile.NewReplicaClient(copyDir), file.NewReplicaClient(copyDir))
			p.close()
		})
	}
}

// makeRandomHistory makes a history in which the database grows and shrinks. It has
// the one snapshot that upstream makes within a day.
func makeRandomHistory(t *testing.T, p *upstreamPrimary, rng *rand.Rand) {
	t.Helper()
	makeHistory(t, p)
	var compacted ltx.TXID // the end of level 1
	for range 8 + rng.IntN(8) {
		switch rng.IntN(8) {
		case 0:
			p.commit(t, "DELETE FROM items WHERE id % 2 = 0", "INSERT INTO items (n) VALUES (1)")
		case 1:
			p.commit(t, "VACUUM")
		case 2, 3:
			p.commit(t, fmt.Sprintf("UPDATE items SET body = randomblob(%d) WHERE id %% 7 = 0", rng.IntN(3000)), "INSERT INTO items (n) VALUES (2)")
		default:
			p.commit(t, fmt.Sprintf("WITH c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) INSERT INTO items (n, body) SELECT i, randomblob(i * 3) FROM c", 1+rng.IntN(200)))
		}
		switch rng.IntN(6) {
		case 0, 1:
			if p.last().txid > compacted {
				p.compact(t, 1)
				compacted = p.last().txid
			}
		case 2:
			p.checkpoint(t)
		case 3:
			p.deleteCompacted(t)
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
