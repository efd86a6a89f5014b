package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// rowsOf reads the rows of the tables of TestChanges from an image.
func rowsOf(t testing.TB, image []byte) map[string]string {
	t.Helper()
	db, err := sql.Open(sqlitetest.Driver, "file:"+plainFile(t, image))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	return rowsIn(t, db)
}

// rowsIn reads the rows of the tables of TestChanges, as texts by table and key.
func rowsIn(t testing.TB, db *sql.DB) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for table, query := range map[string]string{
		"t": "SELECT id, n || '/' || coalesce(hex(b), 'NULL') FROM t",
		"w": "SELECT k, k || '/' || v FROM w",
	} {
		rows, err := db.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var key, text string
			if err := rows.Scan(&key, &text); err != nil {
				t.Fatal(err)
			}
			all[table+" "+key] = text
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// textOf formats the values of a row as rowsOf does.
func textOf(table string, values []any) string {
	if values == nil {
		return ""
	}
	if table == "w" {
		return fmt.Sprintf("%v/%v", values[0], values[1])
	}
	if values[2] == nil {
		return fmt.Sprintf("%v/NULL", values[1])
	}
	return fmt.Sprintf("%v/%X", values[1], values[2])
}

// TestChanges compares changes between transactions with what SQL says about both
// states, while files are merged, snapshots are made and old files deleted.
func TestChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	client := memory.NewReplicaClient()
	p := ltxtest.New(t, client, ltxtest.Options{PageSize: 1024})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, b BLOB); CREATE TABLE w (k TEXT PRIMARY KEY, v INT) WITHOUT ROWID")
	images := map[ltx.TXID][]byte{p.TXID(): p.Image(p.TXID())}
	for range 40 {
		n := rng.IntN(300)
		switch rng.IntN(7) {
		case 0, 1:
			p.Exec(fmt.Sprintf("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 40) INSERT OR REPLACE INTO t SELECT %d + i, i, randomblob(%d) FROM c", n, rng.IntN(3000)))
		case 2:
			p.Exec(fmt.Sprintf("DELETE FROM t WHERE id BETWEEN %d AND %d", n, n+20))
		case 3:
			p.Exec(fmt.Sprintf("UPDATE t SET n = n + 1 WHERE id %% 31 = %d", n%31))
		case 4:
			p.Exec(fmt.Sprintf("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60) INSERT OR REPLACE INTO w SELECT 'k' || (i * %d %% 500), i FROM c", n))
		case 5:
			p.Exec(fmt.Sprintf("DELETE FROM w WHERE v = %d", n%60))
		case 6:
			p.Exec("VACUUM")
		}
		images[p.TXID()] = p.Image(p.TXID())
		if p.TXID()%7 == 0 {
			p.Compact(1, p.TXID()-6, p.TXID())
		}
		if p.TXID() == 20 {
			p.Snapshot()
		}
	}
	_, vfs := newVFSOnly(t, client, &litestream.Options{PollInterval: -1})
	ids := slices.Sorted(maps.Keys(images))
	for range testscale.Repeats(60) {
		from, to := ids[rng.IntN(len(ids))], ids[rng.IntN(len(ids))]
		want := rowsOf(t, images[from])
		if _, ok := want[""]; ok {
			t.Fatal("a row without a key")
		}
		for c, err := range vfs.Changes(t.Context(), "app.db", from, to) {
			if err != nil {
				t.Fatalf("from %s to %s: %v", from, to, err)
			}
			key := fmt.Sprintf("%s %d", c.Table, c.Rowid)
			if !c.HasRowid {
				values := c.New
				if values == nil {
					values = c.Old
				}
				key = fmt.Sprintf("%s %v", c.Table, values[c.Key[0]])
			}
			if had := want[key]; had != textOf(c.Table, c.Old) {
				t.Fatalf("from %s to %s: %s: the row before is %.80s, and not %.80s", from, to, key, textOf(c.Table, c.Old), had)
			}
			if c.New == nil {
				delete(want, key)
			} else {
				want[key] = textOf(c.Table, c.New)
			}
			if textOf(c.Table, c.New) == textOf(c.Table, c.Old) {
				t.Errorf("from %s to %s: %s has not changed", from, to, key)
			}
		}
		if got := rowsOf(t, images[to]); !maps.Equal(got, want) {
			t.Fatalf("from %s to %s: the changes do not lead there", from, to)
		}
	}
}

// TestChanges_ReadsLittle counts what the changes of some rows of a large table
// cost.
func TestChanges_ReadsLittle(t *testing.T) {
	client := memory.NewReplicaClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INT, s TEXT); CREATE INDEX i ON t (n)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100000) INSERT INTO t SELECT i, i, hex(randomblob(100)) FROM c")
	from := p.Snapshot()
	p.DeleteLevelBelow(0, p.TXID())
	p.Exec("UPDATE t SET n = n + 1 WHERE id % 1000 = 5")
	p.Snapshot() // gives every page another version
	name, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1, CacheSize: 64 << 20})
	mustQuery(t, openConn(t, name, "app.db"), "SELECT 1 FROM t LIMIT 1") // keeps it open, with its counters
	n := 0
	for c, err := range vfs.Changes(t.Context(), "app.db", from, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Kind != litestream.RowUpdated || c.New[1] != c.Old[1].(int64)+1 {
			t.Fatalf("%+v", c)
		}
		n++
	}
	if n != 100 {
		t.Errorf("%d changes, want 100", n)
	}
	pages := int64(len(p.Image(p.TXID())) / 4096)
	stats, err := vfs.StatsOf(t.Context(), "app.db")
	if err != nil {
		t.Fatal(err)
	}
	// Two leaves and what is above them for each row, and the leaves of the index.
	t.Logf("%d reads in a database of %d pages", stats.Reads, pages)
	if stats.Reads*12 > pages {
		t.Errorf("%d reads in a database of %d pages", stats.Reads, pages)
	}
}

// TestChanges_NothingUploaded compares states while all commits are local. There are none.
func TestChanges_NothingUploaded(t *testing.T) {
	name, vfs := newVFS(t, memory.NewReplicaClient(), &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1})
	db := openConn(t, name, "app.db")
	mustExec(t, db, "CREATE TABLE t (x)")
	for _, err := range vfs.Changes(t.Context(), "app.db", 0, 0) {
		if !errors.Is(err, litestream.ErrNoDatabase) {
			t.Error(err)
		}
	}
	mustExec(t, db, "PRAGMA litestream_sync")
	for _, err := range vfs.Changes(t.Context(), "app.db", 1, 0) {
		t.Error(err)
	}
}

// TestChanges_Errors asks for what there is not, and stops early.
func TestChanges_Errors(t *testing.T) {
	client := memory.NewReplicaClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (1), (2), (3)")
	p.Exec("UPDATE t SET x = x + 1")
	_, vfs := newVFSOnly(t, client, &litestream.Options{PollInterval: -1})
	only := func(ctx context.Context, from, to ltx.TXID, tables ...string) (n int, err error) {
		for _, err := range vfs.Changes(ctx, "app.db", from, to, tables...) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	if _, err := only(t.Context(), 1, 0, "none"); !errors.Is(err, litestream.ErrNoTable) {
		t.Errorf("a table that does not exist: %v", err)
	}
	if _, err := only(t.Context(), 1, 99); !errors.Is(err, litestream.ErrTxNotAvailable) {
		t.Errorf("a transaction that does not exist: %v", err)
	}
	for _, to := range []ltx.TXID{0, 1} {
		if _, err := only(t.Context(), 0, to); !errors.Is(err, litestream.ErrTxNotAvailable) || !strings.Contains(err.Error(), "the oldest is 0000000000000001") {
			t.Errorf("from before the first transaction to %d: %v", to, err)
		}
	}
	if n, err := only(t.Context(), 1, 0, "T"); n != 3 || err != nil {
		t.Errorf("%d changes, %v", n, err)
	}
	if n, err := only(t.Context(), 2, 2); n != 0 || err != nil {
		t.Errorf("nothing has changed: %d changes, %v", n, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := only(gone, 1, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	for range vfs.Changes(t.Context(), "app.db", 1, 2) {
		break
	}
}
