package litestream_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// lineage is one of several databases that are stored under the same name.
type lineage struct {
	*ltxtest.Primary
	files *memory.ReplicaClient // files that the primary makes
}

// lineageQuery returns the writer of the rows, their number and sums over them.
const lineageQuery = "SELECT group_concat(DISTINCT who), count(*), sum(n), sum(length(pad)) FROM t"

// newLineage returns a database of the given number of transactions. Each of
// its rows names the database.
func newLineage(t *testing.T, who string, opts ltxtest.Options, rows, txns int) *lineage {
	t.Helper()
	l := &lineage{files: memoryClient()}
	l.Primary = ltxtest.New(t, l.files, opts)
	l.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, n INTEGER, pad TEXT)")
	l.Exec(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ?)
		INSERT INTO t SELECT i, ?, 0, hex(zeroblob(100 + i % 100)) FROM c`, rows, who)
	for range txns - 2 {
		l.grow()
	}
	return l
}

// grow runs one more transaction.
func (l *lineage) grow() {
	n := int(l.TXID())
	l.Exec("UPDATE t SET n = n + ? WHERE id % 7 = ?", n, n%7)
}

// listFiles lists the files of all levels.
func listFiles(t *testing.T, client litestream.ReplicaClient) (files []*ltx.FileInfo) {
	t.Helper()
	for level := range litestream.SnapshotLevel + 1 {
		itr, err := client.LTXFiles(t.Context(), level, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		infos, err := ltx.SliceFileIterator(itr)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, infos...)
	}
	return files
}

// putFiles copies the files of another replica to a replica.
func putFiles(t *testing.T, client, from litestream.ReplicaClient) {
	t.Helper()
	for _, f := range listFiles(t, from) {
		r, err := from.OpenLTXFile(t.Context(), f.Level, f.MinTXID, f.MaxTXID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.WriteLTXFile(t.Context(), f.Level, f.MinTXID, f.MaxTXID, r); err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
	}
}

func emptyReplica(t *testing.T, client litestream.ReplicaClient) {
	t.Helper()
	if err := client.DeleteLTXFiles(t.Context(), listFiles(t, client)); err != nil {
		t.Fatal(err)
	}
}

// TestPromise7_ReplicaBegunAnew empties a replica and recreates it with another
// database, under open connections. After that is noticed, a transaction gets
// an error or continues with its own rows, but never mixes the two, and the
// next transaction sees the new database.
func TestPromise7_ReplicaBegunAnew(t *testing.T) {
	const oldRows, oldTxns = 400, 12
	began := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	snapshotOnly := func(l *lineage) { l.DeleteLevelBelow(0, l.Snapshot()+1) }
	for _, tc := range []struct {
		name     string
		pageSize int
		rows     int
		txns     int
		finish   func(*lineage)
		mirror   bool // common files have the same sizes
	}{
		{"shorter", 4096, 300, 5, nil, false},
		{"equal", 4096, 300, oldTxns, nil, false},
		{"longer", 4096, 500, 40, nil, false},
		{"shorter, equal sizes", 4096, oldRows, 5, nil, true},
		{"equal, equal sizes", 4096, oldRows, oldTxns, nil, true},
		{"longer, equal sizes", 4096, oldRows, 40, nil, true},
		{"snapshot only, shorter", 4096, 300, 5, snapshotOnly, false},
		{"snapshot only, longer", 4096, oldRows, 40, snapshotOnly, false},
		{"compacted", 4096, 300, 20, func(l *lineage) {
			l.Compact(1, 1, 15)
			l.DeleteLevelBelow(0, 16)
		}, false},
		{"smaller pages", 512, 300, oldTxns, nil, false},
		{"larger pages", 65536, 300, 5, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			older := newLineage(t, "old", ltxtest.Options{}, oldRows, oldTxns)
			for _, c := range []struct {
				store litestream.ReplicaClient
				cache int64
			}{{memoryClient(), 0}, {memoryClient(), uncached}, {file.NewReplicaClient(t.TempDir()), uncached}} {
				t.Run(fmt.Sprintf("%T cache=%d", c.store, c.cache), func(t *testing.T) {
					newer := newLineage(t, "new", ltxtest.Options{PageSize: tc.pageSize, Start: began}, tc.rows, tc.txns)
					if tc.finish != nil {
						tc.finish(newer)
					}
					if tc.mirror {
						wantSameSizes(t, older.files, newer.files)
					}
					beginAnew(t, c.store, c.cache, older, newer)
				})
			}
		})
	}
}

func beginAnew(t *testing.T, store litestream.ReplicaClient, cache int64, older, newer *lineage) {
	putFiles(t, store, older.files)
	var log testlog.Buffer
	vfsName, _ := newVFS(t, store, &litestream.Options{PollInterval: fastPoll, CacheSize: cache, Logger: testlog.New(t, &log)})
	reader, traveller := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	mustExec(t, reader, "PRAGMA cache_size = 0")
	mustExec(t, traveller, "PRAGMA cache_size = 0")
	mustExec(t, traveller, "PRAGMA litestream_txid = '0000000000000003'")
	own, past := mustQuery(t, reader, lineageQuery), mustQuery(t, traveller, lineageQuery)
	mustExec(t, reader, "BEGIN")
	mustQuery(t, reader, "SELECT * FROM t LIMIT 1")

	emptyReplica(t, store)
	putFiles(t, store, newer.files)
	// Before the poll, nothing distinguishes two frames in the same place.
	waitFor(t, "a poll to notice", func() bool { return strings.Contains(log.String(), "replaced by another history") })

	for _, c := range []struct {
		conn      querier
		what, own string
	}{{reader, "the open transaction", own}, {traveller, "the travelling connection", past}} {
		switch got, err := queryText(c.conn, lineageQuery); {
		case err == nil && got != c.own:
			t.Errorf("%s sees %s, saw %s", c.what, got, c.own)
		case err != nil && !strings.Contains(lastError(c.conn), "the replica was replaced"):
			t.Errorf("%s: the error does not say why: %v (%s)", c.what, err, lastError(c.conn))
		}
	}
	_, _ = queryText(reader, "ROLLBACK")
	mustExec(t, traveller, "PRAGMA litestream_time = 'latest'")
	wantLineage(t, reader, newer)
	wantLineage(t, traveller, newer)

	// The new database can be followed and travelled like any other.
	newer.grow()
	putFiles(t, store, newer.files)
	wantLineage(t, reader, newer)
	want := mustQuery(t, reader, lineageQuery)
	mustExec(t, traveller, "PRAGMA litestream_txid = '"+newer.TXID().String()+"'")
	if got := mustQuery(t, traveller, lineageQuery); got != want {
		t.Errorf("travel within the new database leads to %s, want %s", got, want)
	}
}

// wantLineage waits until a connection sees the newest state of a database, and
// checks all of it.
func wantLineage(t *testing.T, conn querier, l *lineage) {
	t.Helper()
	want := mustQuery(t, l.DB(), lineageQuery)
	waitFor(t, "the newest state", func() bool { return mustQuery(t, conn, lineageQuery) == want })
	for query, want := range map[string]string{
		"PRAGMA integrity_check": "ok", "PRAGMA page_size": fmt.Sprint(l.PageSize()),
		"PRAGMA page_count": mustQuery(t, l.DB(), "PRAGMA page_count"),
	} {
		if got := mustQuery(t, conn, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// wantSameSizes checks that files of the same name have the same size.
func wantSameSizes(t *testing.T, a, b litestream.ReplicaClient) {
	t.Helper()
	same := 0
	others := listFiles(t, b)
	for _, f := range listFiles(t, a) {
		if i := slices.IndexFunc(others, func(o *ltx.FileInfo) bool {
			return o.Level == f.Level && o.MinTXID == f.MinTXID && o.MaxTXID == f.MaxTXID
		}); i >= 0 {
			if same++; others[i].Size != f.Size {
				t.Fatalf("file %d has %d bytes in one, %d in the other", f.MaxTXID, f.Size, others[i].Size)
			}
		}
	}
	if same == 0 {
		t.Fatal("no file in common")
	}
}
