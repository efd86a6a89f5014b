package litestream_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/superfly/ltx"
)

// TestTraces_Joins compares the requests of joins with a golden file: the number
// of reads that begin in each round trip but the last, in which the query may end
// before all that it reads ahead is asked for. Where the pages lie depends on the
// version of SQLite, so offsets are not compared. A driver that does not tell the
// statement has a file of its own.
func TestTraces_Joins(t *testing.T) {
	s := networkReplica.open(t)
	var b strings.Builder
	for _, q := range s.queries {
		if strings.HasPrefix(q.Name, "cities") {
			// One of its reads begins before or after SQLite comes to a row that
			// arrives at the same time. TestJoins_RoundTrips has this query, too.
			continue
		}
		traceJoin(t, &b, s.client, q.Name, func(conn querier) {
			if got := mustQuery(t, conn, q.SQL); got != s.answers[q.Name] {
				t.Errorf("%s: got %s, want %s", q.Name, got, s.answers[q.Name])
			}
		})
	}
	wrong, query, want := wrongGuessReplica(t)
	traceJoin(t, &b, wrong, "a wrong guess", func(conn querier) {
		if got := mustQuery(t, conn, query); got != want {
			t.Errorf("a wrong guess: got %s, want %s", got, want)
		}
	})
	traceJoin(t, &b, s.client, "given up after 30 rows", func(conn querier) {
		rows, err := conn.QueryContext(context.Background(), fmt.Sprintf(
			"SELECT n.body FROM people p CROSS JOIN notes n ON n.author = p.id WHERE p.id > %d", networkPeople/2))
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			if !rows.Next() {
				t.Fatal(rows.Err())
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	})
	name := "joins"
	if psanford {
		name = "joins-no-statement"
	}
	golden(t, name, b.String())
}

// TestJoins_GivenUp has a program that closes the rows of a join early. No
// request begins after that, and those under way end.
func TestJoins_GivenUp(t *testing.T) {
	s := networkReplica.open(t)
	synctest.Test(t, func(t *testing.T) {
		trace := decorate.NewTrace(decorate.NewLatency(s.client, decorate.Latency{PerRequest: latency}))
		conn, _, closeAll := openOne(t, trace, &litestream.Options{PollInterval: -1}, "app.db")
		defer closeAll()
		rows, err := conn.QueryContext(context.Background(), "SELECT n.body FROM people p CROSS JOIN notes n ON n.author = p.id")
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			if !rows.Next() {
				t.Fatal(rows.Err())
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		reads := trace.Counts().Reads
		time.Sleep(time.Hour)
		if c := trace.Counts(); c.Open != 0 || c.Reads != reads {
			t.Errorf("%d requests are under way, %d began after the rows were closed", c.Open, c.Reads-reads)
		}
	})
}

// traceJoin appends the round trips of a query right after the open.
func traceJoin(t *testing.T, b *strings.Builder, client litestream.ReplicaClient, name string, query func(querier)) {
	synctest.Test(t, func(t *testing.T) {
		trace := decorate.NewTrace(spread{decorate.NewLatency(client, decorate.Latency{PerRequest: latency})})
		conn, _, closeAll := openOne(t, trace, &litestream.Options{PollInterval: -1}, "app.db")
		defer closeAll()
		mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema")
		time.Sleep(10 * latency) // what the first query read ahead is there
		trace.Reset()
		start := time.Now()
		query(conn)
		trips := int(time.Since(start) / latency)
		reads := make([]int, trips)
		for _, e := range trace.Events() {
			if trip := int(e.Start.Sub(start) / latency); trip < trips {
				reads[trip]++
			}
		}
		fmt.Fprintf(b, "# %s: %d round trips\n", name, trips)
		for i, n := range reads[:trips-1] {
			fmt.Fprintf(b, "round trip %d: %d reads\n", i+1, n)
		}
		b.WriteByte('\n')
	})
}

// spread makes no two reads end at one instant, so that their pages arrive in the
// same order in every run.
type spread struct{ *decorate.LatencyClient }

func (c spread) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	time.Sleep(time.Duration(offset / 16)) // frames are larger, and the file has less than 16 MB
	return c.LatencyClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
}
