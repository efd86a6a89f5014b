package litestream_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// TestPromise1_WrongFileWhileUnsynced has hydration find that the checksum of a
// file is wrong, also while commits are not yet on the replica, and while a
// transaction holds the writer slot and then changes nothing. Pages of that file in
// SQLite's cache are no longer used either, neither for the newest state nor for the
// past.
func TestPromise1_WrongFileWhileUnsynced(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("unsynced %v, busy %v", unsynced, busy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testWrongFile(t, unsynced, busy) })
			})
		}
	}
}

func testWrongFile(t *testing.T, unsynced, busy bool) {
	client := memoryClient()
	write(t, client, "CREATE TABLE t (v); CREATE TABLE other (v)")
	write(t, client, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 2000) INSERT INTO t SELECT randomblob(1000) FROM n")
	write(t, client, "INSERT INTO other VALUES (0)") // this file holds page 1
	body := []byte(readFile(t, client, 0, 2, 2))
	body[len(body)-1] ^= 1
	if _, err := client.WriteLTXFile(t.Context(), 0, 2, 2, strings.NewReader(string(body))); err != nil {
		t.Fatal(err)
	}
	slot, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
		o.HydrationEnabled, o.HydrationRateLimit, o.PollInterval = true, 200<<10, -1
		o.Logger, o.CompactionDisabled = testlog.New(t, nil), true
	}))
	defer vfs.Close(context.Background())
	writer, reader := openConn(t, slot, "app.db"), openConn(t, slot, "app.db")
	if unsynced {
		mustExec(t, writer, "INSERT INTO other VALUES (1)")
	}
	travel := func(db querier, txid string) {
		t.Helper()
		mustExec(t, db, "PRAGMA litestream_txid = '"+txid+"'")
	}
	fill := func(db querier) {
		t.Helper()
		mustExec(t, db, "PRAGMA cache_size = 10000")
		wantSQL(t, db, "SELECT count(v) FROM t", "2000")
	}
	check := func(name string, db querier) {
		t.Helper()
		if got, err := queryText(db, "SELECT count(v) FROM t"); err == nil {
			t.Errorf("%s goes on with what it has cached: %s", name, got)
		}
	}
	fill(writer)
	fill(reader)
	stay, back := make(map[string]querier), make(map[string]querier) // by transaction
	for _, txid := range []string{"0000000000000002", "0000000000000003"} {
		stay[txid], back[txid] = openConn(t, slot, "app.db"), openConn(t, slot, "app.db")
		for _, db := range []querier{stay[txid], back[txid]} {
			travel(db, txid)
			fill(db)
		}
		travel(back[txid], "latest") // which it does not read
	}
	if busy {
		mustExec(t, writer, "BEGIN IMMEDIATE")
	}
	for mustQuery(t, reader, "PRAGMA litestream_hydration_status") != "failed" {
		time.Sleep(time.Second)
	}
	for txid, db := range back {
		travel(db, txid)
		check("a connection that comes back to transaction "+txid, db)
	}
	for txid, db := range stay {
		check("a connection that stays at transaction "+txid, db)
	}
	if busy {
		mustExec(t, writer, "ROLLBACK")
	}
	check("the writer", writer)
	check("a reader", reader)
	mustExec(t, writer, "INSERT INTO other VALUES (2)")
	if err := vfs.Sync(context.Background(), "app.db"); err != nil {
		t.Error(err)
	}
}
