package litestream_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/superfly/ltx"
)

// TestFollow_WriterAndReaders lets a primary write, grow, shrink, compact and
// delete while 8 connections check an invariant in each of their transactions:
// the sum of all rows is zero, and every statement of a transaction sees the
// same state.
func TestFollow_WriterAndReaders(t *testing.T) { bothWays(t, testFollow_WriterAndReaders) }

func testFollow_WriterAndReaders(t *testing.T) {
	for _, tc := range []struct {
		name  string
		cache int64
	}{{"cache", 0}, {"no cache", uncached}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			client := file.NewReplicaClient(t.TempDir())
			p := newPrimary(t, client, ltxtest.Options{}, 500)
			p.Exec("CREATE TABLE ballast (id INTEGER PRIMARY KEY, b BLOB)")
			vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: fastPoll, CacheSize: tc.cache})

			const readers = 8
			var done atomic.Bool
			var transactions, gone atomic.Int64
			seen := make([]string, readers)
			var wg sync.WaitGroup
			for i := range readers {
				conn := openConn(t, vfsName, "app.db")
				wg.Go(func() {
					last := ""
					for !done.Load() {
						txid, err := checkInvariant(conn)
						switch {
						case err == nil:
							transactions.Add(1)
							if txid < last {
								t.Errorf("reader %d went back from %s to %s", i, last, txid)
							}
							last = txid
						case strings.Contains(err.Error(), "disk I/O error") && strings.Contains(lastError(conn), "no longer available"):
							// The view's files were deleted: the next
							// transaction must work.
							gone.Add(1)
						default:
							t.Errorf("reader %d: %v (%s)", i, err, lastError(conn))
							return
						}
						seen[i] = last
					}
				})
			}

			last := openConn(t, vfsName, "app.db") // while nothing is deleted, which can fail an open, too
			rng := rand.New(rand.NewPCG(1, 2))
			var deleted ltx.TXID
			rounds := max(testscale.Repeats(60), 15)
			if isHydrated(t) {
				rounds = max(testscale.Repeats(20), 5)
			}
			for range rounds {
				switch rng.IntN(8) {
				case 0:
					p.Exec("INSERT INTO ballast (b) SELECT randomblob(3000) FROM t LIMIT 50")
				case 1:
					p.Exec("DELETE FROM ballast WHERE id % 2")
				case 2:
					p.Exec("VACUUM")
				default:
					n := rng.IntN(1000)
					p.Exec(fmt.Sprintf("UPDATE t SET v = v + CASE id %% 2 WHEN 0 THEN %d ELSE -%d END", n, n))
				}
				switch txid := p.TXID(); rng.IntN(6) {
				case 0:
					p.Compact(1, deleted+1, txid)
					p.DeleteLevelBelow(0, txid-1)
					if deleted == 0 {
						p.Snapshot()
					}
					deleted = txid
				case 1:
					if rng.IntN(4) == 0 {
						txid := p.Snapshot()
						p.DeleteLevelBelow(1, txid)
						p.DeleteLevelBelow(ltxtest.SnapshotLevel, txid)
					}
				}
				before := transactions.Load()
				waitFor(t, "readers to go on", func() bool { return transactions.Load() > before || t.Failed() })
				if t.Failed() {
					break
				}
			}
			want := p.TXID().String()
			waitFor(t, "the last transaction to show", func() bool {
				if _, err := checkInvariant(last); err != nil {
					return false
				}
				// The PRAGMA is a transaction of its own, whose state may be deleted, too.
				txid, err := queryText(last, "PRAGMA litestream_txid")
				return err == nil && txid == want
			})
			done.Store(true)
			wg.Wait()
			if got := mustQuery(t, last, "PRAGMA integrity_check"); got != "ok" {
				t.Error(got)
			}
			t.Logf("%d transactions, %d whose state was deleted under them, %v", transactions.Load(), gone.Load(), vfs.Stats())
		})
	}
}

// checkInvariant runs one transaction of a reader and returns its TXID.
func checkInvariant(q querier) (txid string, err error) {
	if _, err := queryText(q, "BEGIN"); err != nil {
		return "", err
	}
	defer func() {
		if _, cerr := queryText(q, "COMMIT"); err == nil {
			err = cerr
		}
	}()
	var first string
	for range 2 {
		got, err := queryText(q, "SELECT count(*), sum(v), (SELECT count(*) FROM ballast), (SELECT sum(length(b)) FROM ballast) FROM t")
		if err != nil {
			return "", err
		}
		if !strings.HasPrefix(got, "500|0|") {
			return "", fmt.Errorf("invariant broken: %s", got)
		}
		if first == "" {
			first = got
		}
		if got != first {
			return "", fmt.Errorf("one transaction sees %s, then %s", first, got)
		}
	}
	return queryText(q, "PRAGMA litestream_txid")
}

func lastError(q querier) string {
	s, err := queryText(q, "PRAGMA litestream_status")
	if err != nil {
		return err.Error()
	}
	return s
}

// TestFollow_DeletedFiles deletes files under an open transaction. If other
// files hold its state, the transaction continues. Otherwise it gets an error
// that says so, and the next transaction works. The next one begins after the
// database knows what the replica has: a view from before the deletion may need
// deleted files, too, and a hydrated database learns of the deletion from polls
// only.
func TestFollow_DeletedFiles(t *testing.T) { bothWays(t, testFollow_DeletedFiles) }

func testFollow_DeletedFiles(t *testing.T) {
	const change = "UPDATE t SET pad = pad || 'y'"
	compactAll := func(p *ltxtest.Primary, _, to ltx.TXID) {
		p.Compact(2, 1, to)
		p.DeleteLevelBelow(0, to+1)
	}
	for _, tc := range []struct {
		name    string
		change  string // another transaction of the primary, before retain
		unseen  bool   // no poll sees the change before retain is done
		retain  func(p *ltxtest.Primary, from, to ltx.TXID)
		survive bool
	}{
		{"compacted at the state", "", false, func(p *ltxtest.Primary, from, to ltx.TXID) {
			p.Compact(1, 1, from)
			p.Compact(1, from+1, to)
			p.DeleteLevelBelow(0, to+1)
		}, true},
		{"snapshot at the state", "", false, func(p *ltxtest.Primary, from, to ltx.TXID) {
			p.Compact(ltxtest.SnapshotLevel, 1, from)
			p.DeleteLevelBelow(0, from+1)
		}, true},
		{"compacted beyond the state, pages unchanged", "", false, compactAll, true},
		{"compacted beyond the state, pages changed", change, false, compactAll, false},
		// No file shows whether the history is still the same.
		{"compacted beyond the newest known state, pages changed", change, true, compactAll, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			store := memoryClient()
			p := newPrimary(t, store, ltxtest.Options{}, 2000)
			p.Exec("UPDATE t SET pad = pad || 'x' WHERE id % 5 = 0")
			from := p.TXID()
			fault := decorate.NewFault(store)
			vfsName, vfs := newVFS(t, fault, &litestream.Options{PollInterval: fastPoll, CacheSize: uncached})
			conn := openConn(t, vfsName, "app.db")
			mustExec(t, conn, "PRAGMA cache_size = 0")
			const query = "SELECT count(*), sum(v), sum(length(pad)) FROM t"
			want := mustQuery(t, conn, query)
			mustExec(t, conn, "BEGIN")
			mustQuery(t, conn, "SELECT 1 FROM t LIMIT 1")

			p.Exec("CREATE TABLE other (x)")
			p.Exec("INSERT INTO other VALUES (1)")
			sees := func() bool { return vfs.Stats()[0].TXID == p.TXID() }
			waitFor(t, "the news", sees)
			answer := func() {}
			if tc.unseen {
				answer = holdCalls(t, fault)
			}
			if tc.change != "" {
				p.Exec(tc.change)
			}
			if !tc.unseen {
				waitFor(t, "the change", sees)
			}
			tc.retain(p, from, p.TXID())
			answer()

			got, err := queryText(conn, query)
			switch {
			case tc.survive && err != nil:
				t.Errorf("%v (%s)", err, lastError(conn))
			case tc.survive && got != want:
				t.Errorf("got %s, want %s", got, want)
			case !tc.survive && err == nil && got == want && isHydrated(t): // the page was still in the local file
			case !tc.survive && err == nil:
				t.Errorf("got %s from deleted files", got)
			case !tc.survive && !strings.Contains(lastError(conn), "no longer available"):
				t.Errorf("the error does not say why: %s", lastError(conn))
			}
			_, _ = queryText(conn, "ROLLBACK")
			waitFor(t, "the change after all", sees)
			if got := mustQuery(t, conn, "SELECT count(*) FROM other"); got != "1" {
				t.Errorf("the next transaction sees %s rows, want 1", got)
			}
			if got := mustQuery(t, conn, "PRAGMA integrity_check"); got != "ok" {
				t.Error(got)
			}
		})
	}
}

// holdCalls makes the calls of a client wait until answer is called.
func holdCalls(t *testing.T, fault *decorate.Fault) (answer func()) {
	held := make(chan struct{})
	remove := fault.Add(decorate.Rule{Before: func(decorate.Call) { <-held }})
	answer = sync.OnceFunc(func() {
		remove()
		close(held)
	})
	t.Cleanup(answer)
	return answer
}

// TestFollow_CompactedBeforeSeen creates and deletes files of level 0 between
// two polls, so that only higher levels hold the new transactions.
func TestFollow_CompactedBeforeSeen(t *testing.T) { bothWays(t, testFollow_CompactedBeforeSeen) }

func testFollow_CompactedBeforeSeen(t *testing.T) {
	store := memoryClient()
	p := newPrimary(t, store, ltxtest.Options{}, 200)
	fault := decorate.NewFault(store)
	vfsName, _ := newVFS(t, fault, &litestream.Options{PollInterval: fastPoll})
	conn := openConn(t, vfsName, "app.db")
	mustQuery(t, conn, "SELECT 1 FROM t LIMIT 1")
	// No poll sees the following changes before they are complete.
	down := fault.Add(decorate.Rule{Err: errors.New("storage is down")})
	first := p.TXID() + 1
	for range 5 {
		p.Exec("UPDATE t SET v = v + CASE id % 2 WHEN 0 THEN 1 ELSE -1 END")
	}
	p.Compact(1, first, p.TXID())
	p.DeleteLevelBelow(0, p.TXID()+1)
	p.Compact(ltxtest.SnapshotLevel, 1, first-1)
	down()
	want := p.TXID().String()
	waitFor(t, "news of level 1", func() bool {
		mustQuery(t, conn, "SELECT 1 FROM t LIMIT 1")
		return mustQuery(t, conn, "PRAGMA litestream_txid") == want
	})
}

// TestFollow_ManyDatabases opens 1,000 databases through one VFS and leaves
// them idle.
func TestFollow_ManyDatabases(t *testing.T) {
	const n = 250
	store := memoryClient()
	newPrimary(t, store, ltxtest.Options{}, 200)
	trace := decorate.NewTrace(store)
	vfsName, vfs := newVFS(t, nil, &litestream.Options{
		PollInterval: time.Second, PollIdleAfter: time.Nanosecond, Logger: testlog.New(discardTB{t}, nil),
		NewClient: func(string) (litestream.ReplicaClient, error) { return trace, nil },
		CacheSize: uncached, // the test counts pages separately
	})
	goroutines := runtime.NumGoroutine()
	heap := heapAfter(func() {
		for i := range n {
			conn := openConn(t, vfsName, fmt.Sprintf("%d.db", i))
			if got := mustQuery(t, conn, "SELECT count(*) FROM t"); got != "200" {
				t.Fatal(got)
			}
		}
		trace.Reset()
	})
	if stats := vfs.Stats(); len(stats) != n {
		t.Fatalf("%d databases, want %d", len(stats), n)
	}
	t.Logf("%d bytes each", heap/n)
	if heap/n > 64<<10 {
		t.Errorf("an idle database takes %d bytes, want 64 KiB at most", heap/n)
	}
	waitFor(t, "pollers to sleep", func() bool {
		for _, s := range vfs.Stats() {
			if s.Poller != "asleep" {
				return false
			}
		}
		return true
	})
	// database/sql has one goroutine for each database.
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines+n })
}
