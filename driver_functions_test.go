//go:build cgo

package litestream_test

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mattn/go-sqlite3"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
)

// withFunctions is a driver whose connections have the functions of RegisterFunctions.
const withFunctions = "sqlite3-register-functions"

func init() {
	sql.Register(withFunctions, &sqlite3.SQLiteDriver{ConnectHook: litestream.RegisterFunctions})
}

// TestRegisterFunctions calls the functions on a connection over psanford/sqlite3vfs,
// while storage works and while it does not.
func TestRegisterFunctions(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1).Exec("UPDATE t SET n = 2")
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(client)
		vfs := litestream.NewVFS(store, &litestream.Options{PollIdleAfter: -1, CloseDelay: -1, Logger: slog.New(slog.DiscardHandler)})
		psanfordSlot.vfs.Store(vfs)
		defer vfs.Close(context.Background())
		db, err := sql.Open(withFunctions, dsn(overPsanford, "app.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		db.SetMaxOpenConns(1)
		wantSQL(t, db, "SELECT n FROM t", "2")
		time.Sleep(litestream.DefaultPollInterval + time.Millisecond)
		same := func() {
			t.Helper()
			for _, name := range []string{"txid", "time", "lag", "write_enabled", "hydration_progress", "hydration_status", "hydration_file"} {
				got, want := mustQuery(t, db, "SELECT litestream_"+name+"() || ''"), mustQuery(t, db, "PRAGMA litestream_"+name)
				if got != want {
					t.Errorf("litestream_%s() is %q, and the PRAGMA %q", name, got, want)
				}
			}
		}
		same()
		wantSQL(t, db, "SELECT litestream_wait('0000000000000002')", "0000000000000002")
		wantSQL(t, db, "SELECT litestream_wait('0000000000000002', 5)", "0000000000000002")

		remove := store.Add(decorate.Rule{Err: fmt.Errorf("list: %w", fs.ErrPermission)})
		time.Sleep(2 * time.Minute)
		same()
		if lag := mustQuery(t, db, "SELECT litestream_lag()"); len(lag) != 3 {
			t.Errorf("the lag is %s after two minutes without storage", lag)
		}
		for call, want := range map[string]string{
			"litestream_history()":                   "permission denied",
			"litestream_set_time('an hour ago')":     "permission denied",
			"litestream_set_time('no time at all')":  "no time at all",
			"litestream_wait('0000000000000003', 1)": litestream.ErrTxNotAvailable.Error(),
		} {
			if got, err := queryText(db, "SELECT "+call); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, %v, want %s", call, got, err, want)
			}
		}
		remove()
		wantSQL(t, db, "SELECT litestream_set_txid('0000000000000001')", "0000000000000001")
		wantSQL(t, db, "SELECT n FROM t", "1")
		wantSQL(t, db, "SELECT litestream_set_txid('latest')", "0000000000000002")
		wantSQL(t, db, "SELECT n FROM t", "2")
	})
}

// TestRegisterFunctions_Elsewhere registers the functions on connections of other
// databases, where they say that they are of no use, and on those that have them.
func TestRegisterFunctions_Elsewhere(t *testing.T) {
	open := func(driver, dsn string) *sql.DB {
		t.Helper()
		db, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	plain := open(withFunctions, ":memory:")
	for _, call := range []string{"litestream_txid()", "litestream_lag()", "litestream_hydration_progress()", "litestream_status()", "litestream_sync()", "litestream_set_time('latest')"} {
		if got, err := queryText(plain, "SELECT "+call); err == nil || !strings.Contains(err.Error(), "the main database is not served by litestream") {
			t.Errorf("%s: %q, %v", call, got, err)
		}
	}
	client := memoryClient()
	numberedReplica(t, client, 1)
	name, _ := registerC(t, client, &litestream.Options{PollInterval: -1})
	const functions = "SELECT group_concat(name || ' ' || narg || ' ' || builtin, ', ' ORDER BY name, narg) FROM pragma_function_list WHERE name LIKE 'litestream%'"
	has, registered := mustQuery(t, open("sqlite3", dsn(name, "app.db")), functions), mustQuery(t, open(withFunctions, dsn(name, "app.db")), functions)
	if has != registered || has == "" {
		t.Errorf("a connection with the functions %s has %s afterwards", has, registered)
	}
	wantSQL(t, open(withFunctions, dsn(name, "app.db")), "SELECT litestream_txid()", "0000000000000001")
}
