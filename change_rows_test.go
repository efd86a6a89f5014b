package litestream_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
)

// skipWithoutChanges skips a test of litestream_changes where it does not exist.
func skipWithoutChanges(t *testing.T) {
	t.Helper()
	if psanford {
		t.Skip("sqlite3vfs passes only PRAGMAs on")
	}
}

// TestChangeRows compares litestream_changes with VFS.Changes, between all
// transactions, while a second statement of the connection reads another comparison.
func TestChangeRows(t *testing.T) {
	skipWithoutChanges(t)
	client := memory.NewReplicaClient()
	p := ltxtest.New(t, client, ltxtest.Options{PageSize: 512})
	const series = "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 400) "
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT); CREATE TABLE w (k TEXT PRIMARY KEY, n INT) WITHOUT ROWID")
	p.Exec(series + "INSERT INTO t SELECT i, hex(randomblob(i)) FROM c")
	p.Exec(series + "INSERT INTO w SELECT 'key ' || i, i FROM c")
	p.Exec("DELETE FROM t WHERE id % 3 = 0; UPDATE t SET s = 'short' WHERE id % 5 = 0; DELETE FROM w WHERE n % 2 = 0")
	p.Exec("ALTER TABLE t ADD COLUMN more; UPDATE t SET more = id WHERE id % 7 = 0; DROP TABLE w")
	name, vfs := newVFS(t, client, &litestream.Options{PollInterval: -1})
	conn := openConn(t, name, "app.db")
	other, err := conn.QueryContext(t.Context(), "SELECT rowid FROM litestream_changes('t', '0000000000000001', '0000000000000002')")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	others := 0
	for from := range p.TXID() {
		for to := range p.TXID() {
			from, to := from+1, to+1
			var want []string
			for c, err := range vfs.Changes(t.Context(), "app.db", from, to) {
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, fmt.Sprintf("%s %s %d %d", c.Kind, c.Table, c.Rowid, len(c.Old)+len(c.New)))
			}
			const query = `SELECT coalesce(group_concat(x, ';'), '') FROM (SELECT kind || ' ' || tbl_name || ' ' || coalesce(rowid, 0) || ' ' ||
				((SELECT count(*) FROM json_each(coalesce(old, '[]'))) + (SELECT count(*) FROM json_each(coalesce(new, '[]')))) AS x
				FROM litestream_changes(NULL, ?, ?))`
			if got := mustQuery(t, conn, query, from.String(), to.String()); got != strings.Join(want, ";") {
				t.Errorf("from %s to %s: got %.300s, want %.300s", from, to, got, strings.Join(want, ";"))
			}
			if other.Next() {
				others++
			}
		}
	}
	for other.Next() {
		others++
	}
	if err := other.Err(); err != nil || others != 400 {
		t.Errorf("the other statement has %d rows, %v", others, err)
	}
}

// TestChangeRows_Ends ends statements in the middle: by a close, by their context, and
// with the VFS.
func TestChangeRows_Ends(t *testing.T) {
	skipWithoutChanges(t)
	client := memory.NewReplicaClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT)")
	p.Exec("WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000) INSERT INTO t SELECT i, hex(randomblob(500)) FROM c")
	name, vfs := newVFSOnly(t, client, &litestream.Options{PollInterval: -1})
	conn := openConn(t, name, "app.db")
	begin := func(ctx context.Context) *sql.Rows {
		t.Helper()
		rows, err := conn.QueryContext(ctx, "SELECT rowid, new FROM litestream_changes('t', '0000000000000001')")
		if err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatalf("no row: %v", rows.Err())
		}
		return rows
	}
	if err := begin(t.Context()).Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rows := begin(ctx)
	cancel()
	n := 1
	for rows.Next() {
		n++
	}
	if err := rows.Err(); !errors.Is(err, context.Canceled) || n == 5000 {
		t.Errorf("a statement that was canceled has %d rows, %v", n, err)
	}
	_ = rows.Close()
	if got := mustQuery(t, conn, "SELECT count(*) FROM litestream_changes('t', '0000000000000001')"); got != "5000" {
		t.Errorf("%s changes afterwards", got)
	}

	rows = begin(t.Context())
	if err := vfs.Close(t.Context()); err != nil {
		t.Error(err)
	}
	n = 1
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err == nil || !strings.Contains(err.Error(), litestream.ErrClosed.Error()) || n == 5000 {
		t.Errorf("a statement without its VFS has %d rows, %v", n, err)
	}
	_ = rows.Close()
	if got, err := queryText(conn, "SELECT count(*) FROM litestream_changes('t', '0000000000000001')"); err == nil {
		t.Errorf("a closed VFS has %s changes", got)
	}
}

// TestChangeRows_States names the states that are compared in each way, and in ways
// that name none.
func TestChangeRows_States(t *testing.T) {
	skipWithoutChanges(t)
	p, vfsName, _ := travelFixture(t, ltxtest.Options{}, 4)
	conn := openConn(t, vfsName, "app.db")
	mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000003'")
	at := func(txid ltx.TXID) string { return p.Time(txid).Format(time.RFC3339Nano) }
	const query = "SELECT json_extract(old, '$.n') || ' to ' || json_extract(new, '$.n') FROM litestream_changes('t', ?, ?)"
	for _, tc := range []struct {
		from, to any
		want     string
	}{
		{"0000000000000001", "0000000000000002", "1 to 2"},
		{"0000000000000002", nil, "2 to 3"}, // what the connection sees
		{"0000000000000001", "latest", "1 to 4"},
		{"LATEST", "0000000000000001", "4 to 1"},
		{at(1), at(3), "1 to 3"},
		{at(2), " 0000000000000004 ", "2 to 4"},
		{at(4), nil, "4 to 3"},
		{at(3), nil, ""},
	} {
		if got := mustQuery(t, conn, query, tc.from, tc.to); got != tc.want {
			t.Errorf("from %v to %v: %q, want %q", tc.from, tc.to, got, tc.want)
		}
	}
	for _, tc := range []struct {
		from, to any
		want     string
	}{
		{"whenever", nil, "neither a transaction of 16 hex digits nor a time"},
		{"0000000000000001", "whenever", "neither a transaction of 16 hex digits nor a time"},
		{"2001-01-01", nil, litestream.ErrTxNotAvailable.Error()},
		{"00000000000000ff", nil, litestream.ErrTxNotAvailable.Error()},
		{nil, nil, "missing or NULL"},
	} {
		if got, err := queryText(conn, query, tc.from, tc.to); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("from %v to %v: %q, %v, want %s", tc.from, tc.to, got, err, tc.want)
		}
	}
}

// TestChangeRows_NotSynced compares with the state of a connection that has commits
// which are not on the replica. They are in no transaction yet.
func TestChangeRows_NotSynced(t *testing.T) {
	skipWithoutChanges(t)
	vfsName, _ := newVFS(t, memoryClient(), writing())
	conn := openConn(t, vfsName, "app.db")
	mustExec(t, conn, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
	wantSQL(t, conn, "PRAGMA litestream_sync", "0000000000000001")
	mustExec(t, conn, "INSERT INTO t VALUES (2)")
	wantSQL(t, conn, "PRAGMA litestream_sync", "0000000000000002")
	mustExec(t, conn, "INSERT INTO t VALUES (3)")
	const changes = "SELECT group_concat(kind || ' ' || rowid) FROM litestream_changes('t', '0000000000000001')"
	wantSQL(t, conn, changes, "insert 2")
	mustExec(t, conn, "BEGIN; DELETE FROM t WHERE id = 1")
	wantSQL(t, conn, changes, "insert 2")
	mustExec(t, conn, "COMMIT")
	wantSQL(t, conn, "PRAGMA litestream_sync", "0000000000000003")
	wantSQL(t, conn, changes, "delete 1,insert 2,insert 3")
}
