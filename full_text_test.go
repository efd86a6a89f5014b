//go:build !cgo || sqlite_fts5

package litestream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/network"
)

// segmentsReplica has a full-text index of some twenty segments, as one that is
// written row by row has, or a large one. Texts are those of the notes.
var segmentsReplica = newNetworkStore(append(network.Statements(networkPeople), network.Segments()), []network.Query{
	network.FullTextQuery(),
	{Name: "one word", SQL: `SELECT count(*), sum(length(n.body)) FROM words w JOIN notes n ON n.id = w.rowid WHERE words MATCH '7919'`},
	{Name: "two words", SQL: `SELECT count(*), sum(length(n.body)) FROM words w JOIN notes n ON n.id = w.rowid WHERE words MATCH '903* ald*'`},
	{Name: "best rows", SQL: `SELECT count(*), sum(length(body)) FROM (SELECT n.body FROM words w JOIN notes n ON n.id = w.rowid WHERE words MATCH '903*' ORDER BY rank LIMIT 10)`},
})

// TestFullText_RoundTrips counts the round trips of full-text queries with a cold
// cache, right after the database was opened. FTS5 looks a term up in one segment
// after the other.
func TestFullText_RoundTrips(t *testing.T) {
	const roundTrip = 25 * time.Millisecond
	most := map[string]float64{"full text": 10, "one word": 9, "two words": 9, "best rows": 18}
	s := segmentsReplica.open(t)
	for _, q := range s.queries {
		t.Run(q.Name, func(t *testing.T) {
			ask := func(opts *litestream.Options) (trips float64, bytes int64) {
				synctest.Test(t, func(t *testing.T) {
					client := decorate.NewLatency(s.client, decorate.Latency{PerRequest: roundTrip, BytesPerSecond: 80e6})
					conn, vfs, closeAll := openOne(t, client, opts, "app.db")
					defer closeAll()
					mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema")
					before, start := vfs.Stats()[0], time.Now()
					if got := mustQuery(t, conn, q.SQL); got != s.answers[q.Name] {
						t.Errorf("got %s, want %s", got, s.answers[q.Name])
					}
					trips = float64(time.Since(start)) / float64(roundTrip)
					after := vfs.Stats()[0]
					bytes = after.ReadBytes - before.ReadBytes
					t.Logf("%.1f round trips, %d requests, %d bytes", trips, after.Reads-before.Reads, bytes)
				})
				return trips, bytes
			}
			trips, bytes := ask(&litestream.Options{PollInterval: -1})
			single, needed := ask(&litestream.Options{PollInterval: -1, ReadAheadSize: -1})
			if trips > most[q.Name] {
				t.Errorf("%.1f round trips, want %.0f at most; %.1f with a request for each page", trips, most[q.Name], single)
			}
			if bytes > 2*needed {
				t.Errorf("%d bytes, %d with a request for each page", bytes, needed)
			}
		})
	}
}
