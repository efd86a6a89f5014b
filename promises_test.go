package litestream_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/superfly/ltx"
)

// fastPoll is a poll interval that makes changes visible soon.
const fastPoll = 2 * time.Millisecond

// uncached turns caches off, so that neither the cache of the database nor that
// of SQLite hides what the view says.
const uncached = -1

// newPrimary returns a primary with a table of n rows that add up to zero.
func newPrimary(t testing.TB, store ltxtest.Store, opts ltxtest.Options, n int) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, store, opts)
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v INTEGER, pad TEXT)")
	p.Exec(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?)
		INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN i ELSE -i - 1 END, hex(zeroblob(100 + i % 300)) FROM c`, n)
	p.Exec("CREATE INDEX t_v ON t (v)")
	return p
}

// TestPromise1_SnapshotIsolation reads a database to the end in one
// transaction while it is changed, shrunk, grown, compacted and polled.
func TestPromise1_SnapshotIsolation(t *testing.T) { bothWays(t, testPromise1_SnapshotIsolation) }

func testPromise1_SnapshotIsolation(t *testing.T) {
	for _, pageSize := range []int{512, 4096, 65536} {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			t.Parallel()
			store := memoryClient()
			rows := max(testscale.Repeats(2000), 500)
			p := newPrimary(t, store, ltxtest.Options{PageSize: pageSize}, rows)
			vfsName, _ := newVFS(t, store, &litestream.Options{PollInterval: fastPoll, CacheSize: uncached})
			reader, witness := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
			mustExec(t, reader, "PRAGMA cache_size = 0")

			var before []string
			look := func() []string {
				return []string{
					mustQuery(t, reader, "PRAGMA page_count"),
					mustQuery(t, reader, "SELECT count(*), sum(v), sum(length(pad)) FROM t"),
					mustQuery(t, reader, "SELECT id, v, length(pad) FROM t ORDER BY v LIMIT 10"),
					mustQuery(t, reader, "SELECT name FROM sqlite_schema ORDER BY name"),
					mustQuery(t, reader, "PRAGMA integrity_check"),
					mustQuery(t, reader, "PRAGMA litestream_txid"),
				}
			}
			mustExec(t, reader, "BEGIN")
			before = look()
			for i, change := range []string{
				"UPDATE t SET v = -v, pad = hex(randomblob(200))",
				"CREATE TABLE more AS SELECT * FROM t",
				"DELETE FROM t WHERE id > 50",
				"VACUUM",
				"CREATE TABLE again AS SELECT * FROM more",
			} {
				txid := p.Exec(change)
				if i == 2 {
					p.Compact(1, 1, txid)
				}
				waitFor(t, "the change to show elsewhere", func() bool {
					mustQuery(t, witness, "SELECT 1 FROM t LIMIT 1")
					return mustQuery(t, witness, "PRAGMA litestream_txid") == txid.String()
				})
				for k, got := range look() {
					if got != before[k] {
						t.Fatalf("after %q the transaction sees %q, saw %q before", change, got, before[k])
					}
				}
			}
			mustExec(t, reader, "COMMIT")
			if got := mustQuery(t, reader, "SELECT count(*) FROM again"); got != fmt.Sprint(rows) {
				t.Errorf("the next transaction sees %s rows of the new table, want %d", got, rows)
			}
			if got := mustQuery(t, reader, "PRAGMA integrity_check"); got != "ok" {
				t.Error(got)
			}
		})
	}
}

// TestPromise2_OneStatePerDatabase opens many connections to one database.
func TestPromise2_OneStatePerDatabase(t *testing.T) {
	store := memoryClient()
	p := newPrimary(t, store, ltxtest.Options{}, 3000)
	trace := decorate.NewTrace(store)
	vfsName, vfs := newVFS(t, trace, &litestream.Options{PollInterval: time.Hour})
	const query = "SELECT count(*), sum(v), sum(length(pad)) FROM t"
	first := openConn(t, vfsName, "app.db")
	want := mustQuery(t, first, query)

	goroutines := runtime.NumGoroutine()
	trace.Reset()
	const n = 50
	conns := make([]*sql.Conn, n)
	heap := heapAfter(func() {
		for i := range conns {
			conns[i] = openConn(t, vfsName, "app.db")
			if got := mustQuery(t, conns[i], query); got != want {
				t.Fatalf("connection %d sees %s, want %s", i, got, want)
			}
		}
	})
	if c := trace.Counts(); c.Lists+c.Reads > 0 {
		t.Errorf("more connections made %d lists and %d reads", c.Lists, c.Reads)
	}
	if heap/n >= 64<<10 {
		t.Errorf("a connection takes %d bytes, promised are 64 KiB", heap/n)
	}
	// database/sql has one goroutine for each DB, and this test has one for
	// each connection.
	if more := runtime.NumGoroutine() - goroutines; more > n {
		t.Errorf("%d connections made %d goroutines beside those of database/sql", n, more-n)
	}
	if stats := vfs.Stats(); len(stats) != 1 {
		t.Errorf("%d databases, want 1", len(stats))
	}

	// What one connection learns is visible to all of them.
	txid := p.Exec("UPDATE t SET v = 2 * v")
	vfsName, _ = newVFS(t, trace, &litestream.Options{PollInterval: fastPoll})
	a, b := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	txid = p.Exec("UPDATE t SET v = 3 * v")
	waitFor(t, "the poll", func() bool {
		mustQuery(t, a, "SELECT 1 FROM t LIMIT 1")
		return mustQuery(t, a, "PRAGMA litestream_txid") == txid.String()
	})
	if got := mustQuery(t, b, "PRAGMA litestream_txid"); got != txid.String() {
		t.Errorf("one connection is at %s, the other at %s", txid, got)
	}
}

// heapAfter returns the number of bytes by which do grows the heap.
func heapAfter(do func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	do()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// TestPromise3_ReadsNeverWait blocks each operation for which reads must not
// wait, one after the other, and reads meanwhile.
func TestPromise3_ReadsNeverWait(t *testing.T) { bothWays(t, testPromise3_ReadsNeverWait) }

func testPromise3_ReadsNeverWait(t *testing.T) {
	const query = "SELECT count(*), sum(v), sum(length(pad)) FROM t"
	newPages := func(t *testing.T, p *ltxtest.Primary) { p.Exec("UPDATE t SET pad = pad || 'x'") }

	t.Run("poll", func(t *testing.T) {
		store := memoryClient()
		p := newPrimary(t, store, ltxtest.Options{}, 3000)
		fault := decorate.NewFault(store)
		vfsName, _ := newVFS(t, fault, &litestream.Options{PollInterval: fastPoll, CacheSize: uncached})
		conn := openConn(t, vfsName, "app.db")
		mustExec(t, conn, "PRAGMA cache_size = 0")
		want := mustQuery(t, conn, query)
		newPages(t, p)
		hung := make(chan struct{}, 1)
		fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpList, decorate.OpListAll), Hang: true, Before: func(decorate.Call) {
			select {
			case hung <- struct{}{}:
			default:
			}
		}})
		<-hung
		for range 3 {
			mustQuery(t, conn, query)
		}
		_ = want
	})

	t.Run("news being loaded", func(t *testing.T) {
		store := memoryClient()
		p := newPrimary(t, store, ltxtest.Options{}, 3000)
		fault := decorate.NewFault(store)
		vfsName, _ := newVFS(t, fault, &litestream.Options{PollInterval: fastPoll, CacheSize: uncached})
		conn := openConn(t, vfsName, "app.db")
		mustExec(t, conn, "PRAGMA cache_size = 0")
		want := mustQuery(t, conn, query)
		next := p.TXID() + 1
		hung := make(chan struct{}, 1)
		fault.Add(decorate.Rule{Hang: true, Match: func(c decorate.Call) bool { return c.Op == decorate.OpRead && c.MaxTXID == next }, Before: func(decorate.Call) {
			select {
			case hung <- struct{}{}:
			default:
			}
		}})
		newPages(t, p)
		<-hung
		for range 3 {
			if got := mustQuery(t, conn, query); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})

	t.Run("another connection's read", func(t *testing.T) {
		if isHydrated(t) {
			t.Skip("once everything is local, there is no read to hold up")
		}
		store := memoryClient()
		newPrimary(t, store, ltxtest.Options{}, 3000)
		fault := decorate.NewFault(store)
		vfsName, _ := newVFS(t, fault, &litestream.Options{PollInterval: time.Hour, CacheSize: 64 << 10})
		slow, conn := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
		want := mustQuery(t, conn, "SELECT v FROM t WHERE id = 1")
		hung := make(chan struct{})
		release := make(chan struct{})
		fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Times: 1, Before: func(decorate.Call) {
			close(hung)
			<-release
		}})
		done := make(chan error, 1)
		go func() {
			_, err := queryText(slow, query)
			done <- err
		}()
		<-hung
		if got := mustQuery(t, conn, "SELECT v FROM t WHERE id = 1"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := mustQuery(t, conn, "SELECT length(pad) > 0 FROM t WHERE id = 2999"); got != "1" {
			t.Errorf("got %s", got)
		}
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestPromise7_NoSilentCorruption flips bytes in the files of a replica. A flip
// in a file that is read whole must be recognised. A flip in a file that is
// read in parts may cause an error, but no crash, no hang, and no state that
// mixes pages.
func TestPromise7_NoSilentCorruption(t *testing.T) { bothWays(t, testPromise7_NoSilentCorruption) }

func testPromise7_NoSilentCorruption(t *testing.T) {
	const query = "SELECT count(*), sum(v), sum(length(pad)), sum(id) FROM t"
	for _, tc := range []struct {
		name  string
		rows  int
		flips int
		whole bool // files are small enough to be read whole
	}{{"whole files", 300, 120, true}, {"ranges", 8000, 60, false}} {
		for _, frames := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/lz4 frames=%v", tc.name, frames), func(t *testing.T) {
				t.Parallel()
				healthy := memoryClient()
				p := newPrimary(t, healthy, ltxtest.Options{FrameFormat: frames}, tc.rows)
				p.Exec("UPDATE t SET pad = hex(randomblob(150)) WHERE id % 3 = 0")
				p.Exec("UPDATE t SET v = v * 2")
				want := func() string {
					vfsName, _ := newVFS(t, healthy, nil)
					return mustQuery(t, openConn(t, vfsName, "app.db"), query)
				}()
				var files []*ltx.FileInfo
				itr, err := healthy.LTXFiles(t.Context(), 0, 0, false)
				if err != nil {
					t.Fatal(err)
				}
				if files, err = ltx.SliceFileIterator(itr); err != nil {
					t.Fatal(err)
				}
				rng := rand.New(rand.NewPCG(7, 7))
				broken := &flipClient{ReplicaClient: healthy}
				vfsName, _ := newVFS(t, nil, &litestream.Options{
					NewClient: func(string) (litestream.ReplicaClient, error) { return broken, nil },
					Logger:    testlog.New(discardTB{t}, nil),
				})
				noticed, flips := 0, tc.flips
				if isHydrated(t) {
					flips /= 4
				}
				// Whether a query reads a byte that is flipped depends on timing, if the
				// database is hydrated: a few flips may all go by unnoticed.
				for n := 0; n < testscale.Repeats(flips) || noticed == 0 && n < 10*flips; n++ {
					f := files[rng.IntN(len(files))]
					broken.flip(f, rng.Int64N(f.Size), byte(1+rng.IntN(255)))
					got, err := func() (string, error) {
						db, err := sqlitetest.Open(dsn(vfsName, "app.db"))
						if err != nil {
							t.Fatal(err)
						}
						defer db.Close()
						return queryText(db, query)
					}()
					switch {
					case err != nil:
						noticed++
					case got != want && tc.whole:
						t.Errorf("byte %d of %d-%d flipped: wrong rows", broken.offset, f.MinTXID, f.MaxTXID)
					}
				}
				if noticed == 0 {
					t.Error("no flip was noticed")
				}
			})
		}
	}
}

// discardTB is a test that discards its log.
type discardTB struct{ testing.TB }

func (discardTB) Output() io.Writer { return io.Discard }

// flipClient changes one byte of one file.
type flipClient struct {
	litestream.ReplicaClient

	mu       sync.Mutex // guards the fields below
	min, max ltx.TXID
	offset   int64
	xor      byte
}

func (c *flipClient) flip(f *ltx.FileInfo, offset int64, xor byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.min, c.max, c.offset, c.xor = f.MinTXID, f.MaxTXID, offset, xor
}

func (c *flipClient) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	r, err := c.ReplicaClient.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || minTXID != c.min || maxTXID != c.max {
		return r, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if at := c.offset - offset; at >= 0 && at < int64(len(b)) {
		b[at] ^= c.xor
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// TestPromise9_BoundedWaiting makes storage hang for ever, and checks that
// every operation ends within its limit and that VFS.Close ends everything.
func TestPromise9_BoundedWaiting(t *testing.T) { bothWays(t, testPromise9_BoundedWaiting) }

func testPromise9_BoundedWaiting(t *testing.T) {
	const limit = 50 * time.Millisecond
	hang := func(ops ...decorate.Op) decorate.Rule { return decorate.Rule{Match: decorate.Ops(ops...), Hang: true} }
	everything := hang(decorate.OpList, decorate.OpListAll, decorate.OpRead)

	t.Run("open", func(t *testing.T) {
		store := memoryClient()
		newPrimary(t, store, ltxtest.Options{}, 100)
		fault := decorate.NewFault(store)
		remove := fault.Add(everything)
		var log testlog.Buffer
		vfsName, _ := newVFS(t, fault, &litestream.Options{OpenTimeout: limit, Logger: testlog.New(t, &log)})
		db := openDB(t, vfsName, "app.db")
		if err := db.Ping(); err == nil || sqliteCode(t, err) != litestream.CodeCantOpen {
			t.Errorf("open: %v, want SQLITE_CANTOPEN", err)
		}
		if !strings.Contains(log.String(), context.DeadlineExceeded.Error()) {
			t.Error("the log does not say why")
		}
		remove()
		if got := mustQuery(t, db, "SELECT count(*) FROM t"); got != "100" {
			t.Errorf("after storage came back: %s rows, want 100", got)
		}
	})

	t.Run("read", func(t *testing.T) {
		store := memoryClient()
		newPrimary(t, store, ltxtest.Options{}, 5000)
		fault := decorate.NewFault(store)
		vfsName, _ := newVFS(t, fault, &litestream.Options{
			ReadTimeout: limit, PollInterval: -1, CacheSize: uncached,
			HydrationRateLimit: 1000, // else the query may need no storage
		})
		conn := openConn(t, vfsName, "app.db")
		mustQuery(t, conn, "SELECT 1 FROM t LIMIT 1")
		remove := fault.Add(everything)
		if _, err := queryText(conn, "SELECT sum(v) FROM t"); err == nil {
			t.Error("a read of hanging storage succeeds")
		}
		if e := status(t, conn).LastError; e == nil || !strings.Contains(e.Text, context.DeadlineExceeded.Error()) {
			t.Errorf("last error is %v", e)
		}
		remove()
		if got := mustQuery(t, conn, "SELECT sum(v) % 2 FROM t"); got != "0" {
			t.Errorf("after storage came back: %s", got)
		}
	})

	t.Run("close", func(t *testing.T) {
		store := memoryClient()
		newPrimary(t, store, ltxtest.Options{}, 5000)
		fault := decorate.NewFault(store)
		vfsName, vfs := newVFS(t, fault, &litestream.Options{
			OpenTimeout: -1, ReadTimeout: -1, PollInterval: fastPoll, CacheSize: uncached,
			HydrationRateLimit: 1000, // else the query may need no storage
			NewClient:          func(string) (litestream.ReplicaClient, error) { return fault, nil },
		})
		before := runtime.NumGoroutine()
		reading, opening := openConn(t, vfsName, "a.db"), openDB(t, vfsName, "b.db")
		mustQuery(t, reading, "SELECT 1 FROM t LIMIT 1")
		hung := make(chan decorate.Op, 100)
		everything := everything
		everything.Before = func(c decorate.Call) { hung <- c.Op }
		fault.Add(everything)
		errs := make(chan error, 2)
		go func() {
			_, err := queryText(reading, "SELECT sum(v) FROM t")
			errs <- err
		}()
		go func() { errs <- opening.Ping() }()
		for seen := map[decorate.Op]bool{}; len(seen) < 2; { // a read and lists hang
			seen[<-hung] = true
		}
		if err := vfs.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
		for range 2 {
			if err := <-errs; err == nil {
				t.Error("what hung when the VFS was closed succeeds")
			}
		}
		if _, err := queryText(reading, "SELECT 1 FROM t LIMIT 1"); err == nil {
			t.Error("a transaction after the VFS was closed works")
		}
		if err := opening.Ping(); err == nil {
			t.Error("an open after the VFS was closed works")
		}
		_ = reading.Close()
		_ = opening.Close()
		waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+2 })
	})

	t.Run("close of the last connection", func(t *testing.T) {
		store := memoryClient()
		newPrimary(t, store, ltxtest.Options{}, 100)
		fault := decorate.NewFault(store)
		vfsName, vfs := newVFS(t, fault, &litestream.Options{PollInterval: fastPoll})
		conn, err := openDB(t, vfsName, "app.db").Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hung := make(chan struct{}, 100)
		rule := everything
		rule.Before = func(decorate.Call) { hung <- struct{}{} }
		fault.Add(rule)
		mustQuery(t, conn, "SELECT count(*) FROM sqlite_schema") // wakes the poller
		<-hung
		if err := conn.Raw(func(c any) error { return c.(io.Closer).Close() }); err != nil && !errors.Is(err, sql.ErrConnDone) {
			t.Fatal(err)
		}
		waitFor(t, "the database to close", func() bool { return len(vfs.Stats()) == 0 })
	})
}
