package sqltest

import (
	"io"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/replica"
)

// Scan compares a scan of a database of 64 MB with a download of its snapshot by
// the same client: with the server at hand, where a download takes no more than the
// processor needs for it, and at 20 ms a request and 80 MB/s a stream. It reports the
// scan's speed and bytes as percentages of the download's, and the number of its reads,
// with those of the open. The clients are those of one empty replica.
func Scan(b *testing.B, writer replica.Client, newClient func() replica.Client) {
	last := fill(b, writer)
	b.Run("near", func(b *testing.B) { scan(b, newClient, last) })
	b.Run("far", func(b *testing.B) {
		scan(b, func() replica.Client {
			return decorate.NewLatency(newClient(), decorate.Latency{PerRequest: 20 * time.Millisecond, BytesPerSecond: 80e6})
		}, last)
	})
}

// fill writes the database, and returns its last transaction.
func fill(b *testing.B, writer replica.Client) ltx.TXID {
	b.Helper()
	p := ltxtest.New(b, writer, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 16000) INSERT INTO t SELECT i, randomblob(3900) FROM c")
	p.Snapshot()
	return p.TXID()
}

func scan(b *testing.B, newClient func() replica.Client, last ltx.TXID) {
	for b.Loop() {
		start := time.Now()
		r, err := newClient().OpenLTXFile(b.Context(), replica.SnapshotLevel, 1, last, 0, 0)
		if err != nil {
			b.Fatal(err)
		}
		size, err := io.Copy(io.Discard, r)
		if err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		download := time.Since(start)

		trace := decorate.NewTrace(newClient())
		conn := open(b, register(b, trace, &litestream.Options{}))
		start = time.Now()
		if got := mustQuery(b, conn, "SELECT sum(length(b)) FROM t"); got != "62400000" {
			b.Fatal(got)
		}
		scan := time.Since(start)
		b.ReportMetric(64/download.Seconds(), "download-MB/s")
		b.ReportMetric(100*download.Seconds()/scan.Seconds(), "scan-%")
		counts := trace.Counts()
		b.ReportMetric(float64(counts.Reads), "reads/scan")
		b.ReportMetric(100*float64(counts.BytesRead)/float64(size), "bytes-%")
	}
	b.ReportMetric(0, "ns/op") // two things are timed, not one
}
