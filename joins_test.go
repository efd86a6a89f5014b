package litestream_test

import (
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/network"
	"github.com/ltxvfs/litestream/memory"
)

const fewPeople = 1500

// networkPeople is the number of people of networkReplica. LITESTREAM_TEST_PEOPLE asks
// for another one, to see the figures of a larger database.
var networkPeople = func() int {
	if n, err := strconv.Atoi(os.Getenv("LITESTREAM_TEST_PEOPLE")); err == nil && n > 0 {
		return n
	}
	return fewPeople
}()

// networkReplica is a replica of the database of package network. Tests share it.
var networkReplica = newNetworkStore(network.Statements(networkPeople), network.Queries(networkPeople))

// textsReplica is the same with a full-text index. Its layout depends on the module
// of the driver.
var textsReplica = newNetworkStore(append(network.Statements(networkPeople), network.FullText(fullText)), []network.Query{network.FullTextQuery()})

// networkStore is a replica with the answers that plain SQLite gives.
type networkStore struct {
	client     *memory.ReplicaClient
	statements []string
	queries    []network.Query
	fill       sync.Once
	answers    map[string]string // by the name of the query
}

func newNetworkStore(statements []string, queries []network.Query) *networkStore {
	return &networkStore{client: memory.NewReplicaClient(), statements: statements, queries: queries, answers: make(map[string]string)}
}

func (s *networkStore) open(t *testing.T) *networkStore {
	t.Helper()
	s.fill.Do(func() {
		p := ltxtest.New(t, s.client, ltxtest.Options{})
		for _, stmt := range s.statements {
			p.Exec(stmt)
		}
		p.Snapshot()
		p.DeleteLevelBelow(0, p.TXID()+1)
		for _, q := range s.queries {
			s.answers[q.Name] = mustQuery(t, p.DB(), q.SQL)
		}
	})
	return s
}

// TestJoins_RoundTrips counts the round trips of joins with a cold cache, right
// after the database was opened. Each takes 25 ms, and a stream has 80 MB/s. It
// compares the bytes of all of them with those that SQLite asks for page by page.
func TestJoins_RoundTrips(t *testing.T) {
	const roundTrip = 25 * time.Millisecond
	list, common, friends := 12.0, 5.0, 13.0
	if psanford { // the driver does not tell the statement
		list, common, friends = 201, 6, 20
	}
	most := map[string]float64{
		"newest 200 notes with their authors":              12,
		"notes of 100 people, grouped":                     20,
		"profile":                                          6,
		"who marked a note":                                4,
		"friends in common":                                common,
		"what friends wrote":                               friends, // the ties of several people fit the first friends, so others have to tell
		"friends of friends":                               8,
		"friends of friends of friends":                    12,
		"notes without marks of friends, left join":        18,
		"people with a marked note, exists":                9,
		"notes by a list of 200":                           list,
		"cities of the authors of a time, grouped":         16,
		"newest marks of a person, with notes and authors": 9,
		"50 people by name, through an index":              8,
		"full text":                                        16,
	}
	var read, needed, allReads int64
	var allTrips float64
	count := func(s *networkStore, q network.Query) {
		t.Run(q.Name, func(t *testing.T) {
			ask := func(opts *litestream.Options) (trips float64, reads, bytes int64) {
				synctest.Test(t, func(t *testing.T) {
					client := decorate.NewLatency(s.client, decorate.Latency{PerRequest: roundTrip, BytesPerSecond: 80e6})
					conn, vfs, closeAll := openOne(t, client, opts, "app.db")
					defer closeAll()
					mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema")
					before, start := vfs.Stats()[0], time.Now()
					got := mustQuery(t, conn, q.SQL)
					trips = float64(time.Since(start)) / float64(roundTrip)
					after := vfs.Stats()[0]
					if got != s.answers[q.Name] {
						t.Errorf("got %s, want %s", got, s.answers[q.Name])
					}
					reads, bytes = after.Reads-before.Reads, after.ReadBytes-before.ReadBytes
					t.Logf("%.1f round trips, %d requests, %d bytes, %d of %d pages unused", trips, reads,
						bytes, after.PrefetchedUnused-before.PrefetchedUnused, after.Prefetched-before.Prefetched)
				})
				return trips, reads, bytes
			}
			trips, reads, bytes := ask(&litestream.Options{PollInterval: -1})
			if networkPeople == fewPeople && trips > most[q.Name] {
				t.Errorf("%.1f round trips, want %.0f at most", trips, most[q.Name])
			}
			_, _, one := ask(&litestream.Options{PollInterval: -1, ReadAheadSize: -1})
			read, needed = read+bytes, needed+one
			allTrips, allReads = allTrips+trips, allReads+reads
		})
	}
	for _, s := range []*networkStore{networkReplica.open(t), textsReplica.open(t)} {
		for _, q := range s.queries {
			count(s, q)
		}
	}
	t.Logf("%.1f round trips and %d requests in all, %d bytes, %d with a request for each page", allTrips, allReads, read, needed)
	if read > 2*needed {
		t.Errorf("%.1fx of the bytes that the queries need, want 2x at most", float64(read)/float64(needed))
	}
}

// TestJoins_WrongGuess joins by one of two columns that both lead to the rows of
// the inner loop for a while.
func TestJoins_WrongGuess(t *testing.T) {
	const roundTrip = 25 * time.Millisecond
	inner, query, want := wrongGuessReplica(t)
	synctest.Test(t, func(t *testing.T) {
		client := decorate.NewLatency(inner, decorate.Latency{PerRequest: roundTrip})
		conn, vfs, closeAll := openOne(t, client, &litestream.Options{PollInterval: -1}, "app.db")
		defer closeAll()
		mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema")
		start := time.Now()
		if got := mustQuery(t, conn, query); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		trips, stats := float64(time.Since(start))/float64(roundTrip), vfs.Stats()[0]
		t.Logf("%.1f round trips, %d reads, %d of %d pages unused", trips, stats.Reads, stats.PrefetchedUnused, stats.Prefetched)
		if trips > 40 {
			t.Errorf("%.1f round trips for 600 rows", trips)
		}
		if stats.PrefetchedUnused > 300 {
			t.Errorf("%d pages were fetched in vain", stats.PrefetchedUnused)
		}
	})
}

// wrongGuessReplica returns a replica, a join of it, and what plain SQLite answers. The
// outer table has two columns that both lead to the rows of the inner loop for a
// while. Then one of them leads elsewhere.
func wrongGuessReplica(t *testing.T) (client litestream.ReplicaClient, query, want string) {
	t.Helper()
	inner := memory.NewReplicaClient()
	p := ltxtest.New(t, inner, ltxtest.Options{})
	p.Exec(`CREATE TABLE o (id INTEGER PRIMARY KEY, x INTEGER, y INTEGER, pad TEXT); CREATE TABLE i (id INTEGER PRIMARY KEY, pad TEXT)`)
	p.Exec(`WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) INSERT INTO i SELECT n, hex(randomblob(400)) FROM c`)
	p.Exec(`WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 600)
		INSERT INTO o SELECT n, iif(n <= 40, n * 7919 % 20000, n * 104729 % 20000), n * 7919 % 20000, 'x' FROM c`)
	p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID()+1)
	query = "SELECT count(*), sum(length(i.pad)), sum(o.x) FROM o CROSS JOIN i ON i.id = o.y"
	return inner, query, mustQuery(t, p.DB(), query)
}
