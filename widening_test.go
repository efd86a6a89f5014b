package litestream_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/network"
)

const noteTrip = 25 * time.Millisecond

// noteKey returns one of the notes of networkReplica. Successive ones lie apart.
func noteKey(i int) int { return 1 + i*2654435761%(networkPeople*network.NotesPerPerson) }

// lookUpNotes looks notes up, and returns what they say.
func lookUpNotes(t *testing.T, q querier, first, n int) string {
	t.Helper()
	var b strings.Builder
	for i := range n {
		b.WriteString(mustQuery(t, q, fmt.Sprintf("SELECT title, length(body) FROM notes WHERE id = %d", noteKey(first+i))))
	}
	return b.String()
}

// inNotes runs a test with a connection to a cold database with notes.
func inNotes(t *testing.T, opts litestream.Options, do func(conn *sql.Conn, vfs *litestream.VFS, trips func() float64)) {
	t.Helper()
	s := networkReplica.open(t)
	synctest.Test(t, func(t *testing.T) {
		opts.PollInterval = -1
		client := decorate.NewLatency(s.client, decorate.Latency{PerRequest: noteTrip, BytesPerSecond: 80e6})
		conn, vfs, closeAll := openOne(t, client, &opts, "app.db")
		defer closeAll()
		mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema")
		before := time.Now()
		do(conn, vfs, func() float64 {
			start := before
			before = time.Now()
			return float64(before.Sub(start)) / float64(noteTrip)
		})
	})
}

// Many rows that lie apart, in one transaction, take few round trips.
func TestWidening_OneTransaction(t *testing.T) {
	const lookups = 500
	var want string
	inNotes(t, litestream.Options{}, func(conn *sql.Conn, vfs *litestream.VFS, trips func() float64) {
		want = lookUpNotes(t, conn, 0, lookups)
		one, stats := trips(), vfs.Stats()[0]
		t.Logf("one by one: %.1f round trips, %d requests, %d bytes", one, stats.Reads, stats.ReadBytes)
		if one < lookups*3/4 || stats.PrefetchedUnused > 16 {
			t.Errorf("%.1f round trips, %d pages in vain: lookups in their own transactions are one page each", one, stats.PrefetchedUnused)
		}
	})
	for _, mode := range []litestream.HydrationMode{"", litestream.HydratePages} {
		opts := litestream.Options{HydrationEnabled: mode != "", HydrationMode: mode}
		inNotes(t, opts, func(conn *sql.Conn, vfs *litestream.VFS, trips func() float64) {
			mustExec(t, conn, "BEGIN")
			if got := lookUpNotes(t, conn, 0, lookups); got != want {
				t.Error("the rows are not those of lookups one by one")
			}
			together, stats := trips(), vfs.Stats()[0]
			t.Logf("mode %q: together: %.1f round trips, %d requests, %d bytes", mode, together, stats.Reads, stats.ReadBytes)
			most := float64(minPassing + 30)
			if mode == litestream.HydratePages {
				most = 50
			}
			if together > most {
				t.Errorf("mode %q: %.1f round trips for %d lookups, want %.0f at most", mode, together, lookups, most)
			}
			mustExec(t, conn, "COMMIT")
			if mode == "" {
				return
			}
			time.Sleep(time.Second) // the pages are written
			trips()
			lookUpNotes(t, conn, lookups, lookups)
			if n := trips(); n > lookups/5 {
				t.Errorf("%.1f round trips for other rows, after most pages came to the local file", n)
			}
		})
	}
}

// A transaction with few lookups fetches nothing beside their pages.
func TestWidening_Few(t *testing.T) {
	inNotes(t, litestream.Options{}, func(conn *sql.Conn, vfs *litestream.VFS, trips func() float64) {
		lookUpNotes(t, conn, 0, 1)
		before := vfs.Stats()[0]
		for i := range 3 {
			mustExec(t, conn, "BEGIN")
			lookUpNotes(t, conn, 1+200*i, 200)
			mustExec(t, conn, "COMMIT")
		}
		after := vfs.Stats()[0]
		if after.Prefetched > before.Prefetched+24 || after.Reads-before.Reads > 600 {
			t.Errorf("%d requests and %d pages ahead for 600 lookups", after.Reads-before.Reads, after.Prefetched-before.Prefetched)
		}
	})
}

// TestTraces_Widening has the requests of lookups in one transaction.
func TestTraces_Widening(t *testing.T) {
	s := networkReplica.open(t)
	synctest.Test(t, func(t *testing.T) {
		trace := decorate.NewTrace(decorate.NewLatency(s.client, decorate.Latency{PerRequest: noteTrip, BytesPerSecond: 80e6}))
		conn, _, closeAll := openOne(t, trace, &litestream.Options{PollInterval: -1}, "app.db")
		defer closeAll()
		lookUpNotes(t, conn, 0, 1)
		mustExec(t, conn, "BEGIN")
		var b strings.Builder
		for _, n := range []int{minPassing - 10, 20, 20, 60} {
			trace.Reset()
			lookUpNotes(t, conn, 1000*n, n)
			events := trace.Events()
			c := trace.Counts()
			fmt.Fprintf(&b, "# %d lookups: %d round trips, %d reads, %d bytes\n", n, len(decorate.Waves(events)), c.Reads, c.BytesRead)
			if n < 100 {
				fmt.Fprintln(&b, decorate.Format(events))
			}
			time.Sleep(4 * noteTrip) // what is under way arrives
		}
		golden(t, "widening", b.String())
	})
}

// What a transaction has fetched for lookups is dropped with it, unless there is a
// local file.
func TestWidening_Ends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	for _, opts := range []litestream.Options{{}, {HydrationEnabled: true, HydrationMode: litestream.HydratePages, HydrationPath: path, CacheSize: 1 << 20}} {
		inNotes(t, opts, func(conn *sql.Conn, vfs *litestream.VFS, trips func() float64) {
			for i := range 3 {
				trips()
				mustExec(t, conn, "BEGIN")
				lookUpNotes(t, conn, 1000*i, 250)
				mustExec(t, conn, "COMMIT")
				n := trips()
				time.Sleep(time.Second) // the pages are written
				switch {
				case !opts.HydrationEnabled && (n < minPassing/2 || n > 250):
					t.Errorf("transaction %d takes %.1f round trips", i, n)
				case opts.HydrationEnabled && i > 0 && n > 30:
					t.Errorf("transaction %d takes %.1f round trips, although the pages are local", i, n)
				}
			}
		})
	}
	inNotes(t, litestream.Options{HydrationEnabled: true, HydrationMode: litestream.HydratePages, HydrationPath: path}, func(conn *sql.Conn, vfs *litestream.VFS, trips func() float64) {
		if lookUpNotes(t, conn, 5000, 100); trips() > 10 {
			t.Error("the next process reads again what the file has")
		}
	})
}

// minPassing is the number of lookups that are missed before one is widened, if the
// pages are lost with the transaction.
const minPassing = 224
