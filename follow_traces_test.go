package litestream_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// TestTraces_Following compares the requests of single polls with a golden file:
// without news, with news after a pause and without one, with more news than
// expected, with a large file, and with files that were compacted before a poll.
func TestTraces_Following(t *testing.T) {
	inner := memoryClient()
	p := ltxtest.New(t, inner, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
	p.Exec("INSERT INTO t VALUES (1, 0)")
	var b strings.Builder
	synctest.Test(t, func(t *testing.T) {
		trace := decorate.NewTrace(decorate.NewLatency(inner, decorate.Latency{PerRequest: latency}))
		conn, vfs, closeAll := openOne(t, trace, &litestream.Options{PollIdleAfter: -1}, "app.db")
		defer closeAll()
		mustQuery(t, conn, "SELECT count(*) FROM t")
		write := func(transactions int) {
			for range transactions {
				p.Exec("UPDATE t SET v = v + 1")
			}
		}
		// await waits for the end of the next poll. All of them end in the same
		// distance from the next one.
		await := func() {
			for trace.Counts().Lists+trace.Counts().Reads == 0 || trace.Counts().Open > 0 {
				time.Sleep(latency / 4)
			}
			time.Sleep(5 * latency)
		}
		pause := func(polls int) {
			for range polls {
				trace.Reset()
				await()
			}
		}
		step := func(name string, do func()) {
			trace.Reset()
			do()
			await()
			events, c := trace.Events(), trace.Counts()
			fmt.Fprintf(&b, "# %s: %d round trips, %d lists, %d reads, %d bytes\n%s\n",
				name, len(decorate.Waves(events)), c.Lists, c.Reads, c.BytesRead, decorate.Format(events))
			if got := vfs.Stats()[0].TXID; got != p.TXID() {
				t.Errorf("%s: the view is %s, want %s", name, got, p.TXID())
			}
		}
		nothing := func() {}
		step("a poll without news", nothing)
		step("a transaction after a pause", func() { write(1) })
		step("a transaction after that", func() { write(1) })
		step("four transactions after that", func() { write(4) })
		step("four more", func() { write(4) })
		for n := range 3 {
			step(fmt.Sprintf("no news, poll %d", n+1), nothing)
		}
		step("no news any more", nothing)
		step("two transactions after the pause", func() { write(2) })
		pause(4)
		step("a large transaction after a pause", func() { p.Exec("INSERT INTO t VALUES (2, ?)", ltxtest.Noise(300000)) })
		pause(4)
		step("a transaction after the files of level 0 were compacted", func() {
			p.Compact(1, 1, p.TXID())
			p.DeleteLevelBelow(0, p.TXID()+1)
			write(1)
		})
		p.Compact(1, 16, p.TXID())
		p.DeleteLevelBelow(0, p.TXID()+1)
		pause(40) // one of these polls lists all levels
		step("a transaction after a poll has seen that", func() { write(1) })
	})
	golden(t, "following", b.String())
}
