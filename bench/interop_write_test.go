package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	upstreamlib "github.com/benbjohnson/litestream"
	upstreamfile "github.com/benbjohnson/litestream/file"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

// clients returns upstream's client and our client of one replica, given a
// path.
type clients func(t *testing.T, path string) (upstreamlib.ReplicaClient, litestream.ReplicaClient)

// writeStores lists the stores in which the tests of write mode run. S3 needs a
// server.
var writeStores = []struct {
	name    string
	connect func(*testing.T) clients
}{
	{"file", func(t *testing.T) clients {
		dir := t.TempDir()
		return func(t *testing.T, path string) (upstreamlib.ReplicaClient, litestream.ReplicaClient) {
			path = filepath.Join(dir, path)
			return upstreamfile.NewReplicaClient(path), file.NewReplicaClient(path)
		}
	}},
	{"s3", func(t *testing.T) clients {
		connect := connectS3(t)
		return func(t *testing.T, path string) (upstreamlib.ReplicaClient, litestream.ReplicaClient) {
			return connect(t, path)
		}
	}},
}

// interopWriter is a SQLite connection through our VFS in write mode. It syncs
// only when the test calls for it.
type interopWriter struct {
	*interopReader
	history []point
}

// openWriter opens a replica for writing. It is closed when the test ends.
func openWriter(t *testing.T, client litestream.ReplicaClient, more func(*litestream.Options)) *interopWriter {
	t.Helper()
	opts := &litestream.Options{
		WriteEnabled: true, WriteSyncInterval: -1, WriteBufferPath: filepath.Join(t.TempDir(), "buffer"), Logger: testLogger(t),
	}
	if more != nil {
		more(opts)
	}
	return &interopWriter{interopReader: openReplica(t, client, "mode=rwc", opts)}
}

// commit executes statements. They become one transaction of the replica.
func (w *interopWriter) commit(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := w.conn.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	txid, err := ltx.ParseTXID(w.query(t, "PRAGMA litestream_sync"))
	if err != nil {
		t.Fatal(err)
	}
	w.history = append(w.history, point{txid, databaseState(t, w.conn)})
}

// begin creates the tables of makeHistory.
func (w *interopWriter) begin(t *testing.T, pageSize int) {
	t.Helper()
	w.commit(t, fmt.Sprintf("PRAGMA page_size = %d", pageSize),
		"CREATE TABLE kinds (id INTEGER PRIMARY KEY, kind TEXT)",
		"CREATE TABLE items (id INTEGER PRIMARY KEY, kind_id INT, n REAL, body BLOB)",
		"INSERT INTO kinds VALUES (0, 'nil'), (1, 'one'), (2, 'zwei ü')")
}

// insertItems returns a statement that appends n rows.
func insertItems(n int) string {
	return fmt.Sprintf(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d)
		INSERT INTO items (kind_id, n, body) SELECT i %% 3, i / 8.0, zeroblob(i %% 400) || printf('%%0200d', i * 7919) FROM c`, n)
}

// writeHistory runs transactions that grow, shrink and change a database.
func writeHistory(t *testing.T, w *interopWriter, pageSize int) {
	t.Helper()
	w.begin(t, pageSize)
	w.commit(t, insertItems(600))
	w.commit(t, "CREATE INDEX items_kind ON items (kind_id, n)")
	// One transaction of the replica with several commits and a rollback.
	w.commit(t, "UPDATE items SET n = -n WHERE id % 5 = 0",
		"BEGIN; DELETE FROM items; DROP TABLE kinds; ROLLBACK",
		"UPDATE kinds SET kind = 'eins' WHERE id = 1", "DELETE FROM items WHERE id > 400")
	w.commit(t, "VACUUM") // shrinks the database
	w.commit(t, "INSERT INTO items VALUES (9999, 1, 0.5, zeroblob(300000))")
	// The database shrinks and grows again.
	w.commit(t, "DELETE FROM items WHERE id > 50", "VACUUM", insertItems(200))
	w.commit(t, "PRAGMA journal_mode = TRUNCATE", "UPDATE items SET n = 1 WHERE id = 1")
	w.commit(t, "PRAGMA journal_mode = PERSIST", "PRAGMA synchronous = OFF", "UPDATE items SET n = 2 WHERE id = 1")
	w.commit(t, "PRAGMA journal_mode = MEMORY", "UPDATE items SET n = 3 WHERE id = 1")
	w.commit(t, "PRAGMA journal_mode = DELETE", "ALTER TABLE items ADD COLUMN note TEXT DEFAULT 'added'",
		"BEGIN; SAVEPOINT a; DELETE FROM items; ROLLBACK TO a; UPDATE items SET note = NULL WHERE id = 3; COMMIT")
	w.commit(t, "DELETE FROM items", "VACUUM")
}

// restoreAt makes upstream restore a transaction. 0 means the last one.
func restoreAt(t *testing.T, theirs upstreamlib.ReplicaClient, txid ltx.TXID) (path string, err error) {
	t.Helper()
	opts := upstreamlib.NewRestoreOptions()
	opts.OutputPath = filepath.Join(t.TempDir(), "restored.db")
	opts.TXID = txid
	return opts.OutputPath, upstreamlib.NewReplicaWithClient(nil, theirs).Restore(t.Context(), opts)
}

// checkTransactions makes upstream restore every transaction of a history, and
// makes a reader travel to every one. If all is true, every transaction must be
// available. Otherwise only the last one must be, and upstream and our reader
// must agree on which others are.
func checkTransactions(t *testing.T, history []point, all bool, theirs upstreamlib.ReplicaClient, our litestream.ReplicaClient) (found int) {
	t.Helper()
	reader := openReader(t, our)
	states := make(map[ltx.TXID]string)
	for _, p := range history {
		states[p.txid] = p.state
	}
	last := history[len(history)-1].txid
	for txid := ltx.TXID(1); txid <= last; txid++ {
		path, rerr := restoreAt(t, theirs, txid)
		_, terr := queryText(t.Context(), reader.conn, fmt.Sprintf("PRAGMA litestream_txid = '%s'", txid))
		if rerr != nil || terr != nil {
			if all || txid == last || rerr == nil || terr == nil {
				t.Errorf("transaction %s: restore: %v, travel: %v", txid, rerr, terr)
			}
			continue
		}
		found++
		restored := openSQLite(t, path)
		got := databaseState(t, restored)
		reader.wantState(t, got)
		if want, ok := states[txid]; ok && got != want {
			t.Errorf("restored transaction %s:\n%s\nwant:\n%s", txid, shorten(got), shorten(want))
		}
		if got, err := queryText(t.Context(), restored, "PRAGMA integrity_check"); got != "ok" || err != nil {
			t.Errorf("restored transaction %s: integrity check: %s, %v", txid, got, err)
		}
		_ = restored.Close()
		if t.Failed() {
			t.Fatalf("at transaction %s of %s", txid, last)
		}
	}
	return found
}

// shorten shortens a long text.
func shorten(s string) string {
	const most = 2000
	if len(s) > most {
		return s[:most] + fmt.Sprintf("... (%d bytes)", len(s))
	}
	return s
}

// Upstream restores each transaction that our VFS wrote, in databases with
// every page size.
func TestInteropWrite_PageSizes(t *testing.T) {
	for _, store := range writeStores {
		t.Run(store.name, func(t *testing.T) {
			connect := store.connect(t)
			for _, pageSize := range []int{512, 4096, 65536} {
				t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
					theirs, our := connect(t, fmt.Sprintf("pages-%d/app.db", pageSize))
					w := openWriter(t, our, nil)
					writeHistory(t, w, pageSize)
					if got := w.query(t, "PRAGMA page_size"); got != fmt.Sprint(pageSize) {
						t.Errorf("page size %s", got)
					}
					if n := len(w.history); w.history[n-1].txid != ltx.TXID(n) {
						t.Errorf("%d transactions end at %s", n, w.history[n-1].txid)
					}
					w.close()
					checkTransactions(t, w.history, true, theirs, our)
				})
			}
		})
	}
}

// Upstream restores replicas that our VFS has compacted: every transaction if
// none is deleted, and otherwise the transactions that our VFS can travel to.
func TestInteropWrite_Compaction(t *testing.T) {
	for _, store := range writeStores {
		t.Run(store.name, func(t *testing.T) {
			connect := store.connect(t)
			for _, keep := range []bool{true, false} {
				name := map[bool]string{true: "kept", false: "deleted"}[keep]
				t.Run(name, func(t *testing.T) {
					theirs, our := connect(t, name+"/app.db")
					w := openWriter(t, our, func(o *litestream.Options) {
						o.CompactionLevels = []time.Duration{100 * time.Millisecond, 250 * time.Millisecond, 600 * time.Millisecond}
						o.SnapshotInterval, o.L0Retention = 700*time.Millisecond, -1
						if !keep {
							o.L0Retention, o.SnapshotRetention = 300*time.Millisecond, time.Second
						}
					})
					writeUntilCompacted(t, w, theirs, keep)
					w.close()
					checkTransactions(t, w.history, keep, theirs, our)
					checkFollowed(t, w.history, theirs)
				})
			}
		})
	}
}

// compactionTime limits the time until all levels have several files.
const compactionTime = 20 * time.Second

// writeUntilCompacted commits until all levels have several files and, unless all are
// kept, the file of the first transaction is deleted.
func writeUntilCompacted(t *testing.T, w *interopWriter, theirs upstreamlib.ReplicaClient, keep bool) {
	t.Helper()
	w.begin(t, 1024)
	w.commit(t, insertItems(60), "CREATE INDEX items_kind ON items (kind_id, n)")
	for deadline := time.Now().Add(compactionTime); ; {
		for i := range 10 {
			w.commit(t, insertItems(5), fmt.Sprintf("UPDATE items SET n = n + 1 WHERE id %% 7 = %d", i%7))
			time.Sleep(5 * time.Millisecond)
		}
		w.commit(t, "DELETE FROM items WHERE id % 2 = 0 AND id > 40", "VACUUM")
		files := listLevels(t, theirs)
		var n [upstreamlib.SnapshotLevel + 1]int
		for _, f := range files {
			n[f.Level]++
		}
		first := files[0].Level == 0 && files[0].MinTXID == 1
		if n[1] > 2 && n[2] > 1 && n[3] > 1 && n[upstreamlib.SnapshotLevel] > 1 && first == keep {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v there are so many files, by level: %v:\n%s", compactionTime, n, listingText(files))
		}
	}
}

// checkFollowed restores the last transaction without naming it.
func checkFollowed(t *testing.T, history []point, theirs upstreamlib.ReplicaClient) {
	t.Helper()
	path, err := restoreAt(t, theirs, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := databaseState(t, openSQLite(t, path)), history[len(history)-1].state; got != want {
		t.Errorf("restored:\n%s\nwant:\n%s", shorten(got), shorten(want))
	}
}

// Our VFS and upstream's primary take turns to write a database, while a reader
// follows all the time.
func TestInteropWrite_Turns(t *testing.T) {
	for _, store := range writeStores {
		t.Run(store.name, func(t *testing.T) {
			connect := store.connect(t)
			for _, first := range []string{ours, upstream} {
				t.Run(first+" first", func(t *testing.T) {
					theirs, our := connect(t, first+"-first/app.db")
					checkTurns(t, first == ours, theirs, our)
				})
			}
		})
	}
}

func checkTurns(t *testing.T, oursTurn bool, theirs upstreamlib.ReplicaClient, our litestream.ReplicaClient) {
	var (
		history []point
		reader  *interopReader
		wal     bool // the database has been in WAL mode
	)
	for turn := range 5 {
		var points []point
		changes := []string{
			insertItems(100 * turn),
			fmt.Sprintf("UPDATE items SET n = %d WHERE id %% 3 = %d", turn, turn%3),
			fmt.Sprintf("DELETE FROM items WHERE id %% 5 = %d", turn),
			"VACUUM",
			fmt.Sprintf("INSERT INTO kinds VALUES (%d, 'turn')", 100+turn),
		}
		each := func(commit func(t *testing.T, statements ...string), now func() []point) {
			for _, s := range changes {
				commit(t, s)
				points = now()
				if reader != nil {
					p := points[len(points)-1]
					reader.follow(t, p.txid)
					reader.wantState(t, p.state)
				}
			}
		}
		wantLast := func(who, got string) {
			if len(history) > 0 && got != history[len(history)-1].state {
				t.Fatalf("turn %d: %s begins with\n%s\nwant\n%s", turn, who, shorten(got), shorten(history[len(history)-1].state))
			}
		}
		if oursTurn {
			w := openWriter(t, our, func(o *litestream.Options) {
				o.CompactionLevels, o.L0Retention, o.SnapshotInterval = []time.Duration{20 * time.Millisecond}, -1, 30*time.Millisecond
			})
			if len(history) == 0 {
				w.begin(t, 4096)
			} else {
				wantLast("ours", databaseState(t, w.conn))
			}
			each(w.commit, func() []point { return w.history })
			points = w.history
			w.close()
		} else {
			path := filepath.Join(t.TempDir(), "app.db")
			if len(history) > 0 {
				restored, err := restoreAt(t, theirs, 0)
				if err != nil {
					t.Fatalf("turn %d: restore: %v", turn, err)
				}
				path = restored
			}
			p := newUpstreamPrimaryAt(t, theirs, path)
			if len(history) == 0 {
				makeHistory(t, p)
			} else {
				wantLast("upstream", p.state(t))
			}
			each(p.commit, func() []point { return p.history })
			points, wal = p.history, true
			p.close()
		}
		history = append(history, points...)
		if reader == nil {
			reader = openReader(t, our)
		}
		reader.wantState(t, history[len(history)-1].state)
		checkFormat(t, theirs, wal)
		oursTurn = !oursTurn
	}
	if !slices.IsSortedFunc(history, func(a, b point) int { return strings.Compare(a.txid.String(), b.txid.String()) }) {
		t.Error("transactions are not in order")
	}
	checkTransactions(t, history, true, theirs, our)
}

// checkFormat checks that a database that has been in WAL mode is restored in
// WAL mode.
func checkFormat(t *testing.T, theirs upstreamlib.ReplicaClient, wal bool) {
	t.Helper()
	path, err := restoreAt(t, theirs, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := byte(1)
	if wal {
		want = 2
	}
	if b[18] != want || b[19] != want {
		t.Errorf("restored format is %d, %d, want %d", b[18], b[19], want)
	}
}
