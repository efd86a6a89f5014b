package litestream_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

// limitStep is a query that needs a part of the table t of fastReplica, which has
// about 27 rows in each leaf.
type limitStep struct {
	name, query string
	args        []any
	rows        int // after which the program closes the rows; 0: it reads all
	leaves      int // that the query needs
	told        int // most leaves that are read if the driver tells the statement
	untold      int // and if it does not
}

var limitSteps = []limitStep{
	{"30 rows", "SELECT pad FROM t WHERE id > 20000 LIMIT 30", nil, 0, 2, 40, 40},
	{"300 rows by a parameter", "SELECT pad FROM t WHERE id > ? LIMIT ?", []any{20000, 300}, 0, 12, 40, 110},
	{"200 rows after 100", "SELECT pad FROM t WHERE id > 20000 LIMIT 200 OFFSET 100", nil, 0, 12, 40, 110},
	{"2,000 rows", "SELECT pad FROM t WHERE id > 20000 LIMIT 2000", nil, 0, 75, 110, 1500},
	{"10,000 rows", "SELECT pad FROM t WHERE id > 20000 LIMIT 10000", nil, 0, 375, 470, 1500},
	{"a limit that is not reached", "SELECT pad FROM t WHERE id > 20000 AND +k % 10000 = 7 LIMIT 30", nil, 0, 1500, 1500, 1500},
	{"the smallest ones of all", "SELECT pad FROM t WHERE id > 20000 ORDER BY pad LIMIT 30", nil, 0, 1500, 1500, 1500},
	{"closed after 300 rows", "SELECT pad FROM t WHERE id > 20000", nil, 300, 12, 110, 110},
	{"closed after 2,000 rows", "SELECT pad FROM t WHERE id > 20000", nil, 2000, 75, 1500, 1500},
}

// TestTraces_Limits compares the requests of scans that end early with a golden
// file: that of a driver that tells the statement, or of one that does not.
func TestTraces_Limits(t *testing.T) {
	inner, _ := fastClient(t)
	var b strings.Builder
	for _, step := range limitSteps {
		synctest.Test(t, func(t *testing.T) {
			trace := decorate.NewTrace(decorate.NewLatency(inner, decorate.Latency{PerRequest: latency}))
			conn, _, closeAll := openOne(t, trace, &litestream.Options{PollInterval: -1}, "fast.db")
			defer closeAll()
			mustQuery(t, conn, "SELECT id FROM t LIMIT 1")
			synctest.Wait()
			trace.Reset()
			rows, err := conn.QueryContext(t.Context(), step.query, step.args...)
			if err != nil {
				t.Fatal(err)
			}
			for n := 0; rows.Next(); {
				synctest.Wait() // requests have begun, or the end of the statement would give some up
				if n++; n == step.rows {
					break
				}
			}
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
			for trace.Counts().Open > 0 {
				time.Sleep(latency)
			}
			events, c := trace.Events(), trace.Counts()
			fmt.Fprintf(&b, "# %s: %d round trips, %d reads, %d bytes\n%s\n",
				step.name, len(decorate.Waves(events)), c.Reads, c.BytesRead, decorate.Format(events))
			most := step.told
			if psanford {
				most = step.untold
			}
			if n := int(c.BytesRead / 4096); n > most {
				t.Errorf("%s: about %d leaves are read, want %d at most; %d are needed", step.name, n, most, step.leaves)
			}
		})
	}
	golden(t, "limits"+untold(), b.String())
}
