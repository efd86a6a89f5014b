package litestream_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/superfly/ltx"
)

// TestFunctions checks that the functions return what the PRAGMAs of the same
// names do.
func TestFunctions(t *testing.T) {
	p, vfsName, _ := travelFixture(t, ltxtest.Options{}, 4)
	conn := openConn(t, vfsName, "app.db")
	for _, txid := range []string{"latest", "0000000000000002"} {
		mustExec(t, conn, "PRAGMA litestream_txid = '"+txid+"'")
		for _, name := range []string{"litestream_txid", "litestream_time", "litestream_history"} {
			if got, want := mustQuery(t, conn, "SELECT "+name+"()"), mustQuery(t, conn, "PRAGMA "+name); got != want || got == "" {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		var s connStatus
		if err := json.Unmarshal([]byte(mustQuery(t, conn, "SELECT litestream_status()")), &s); err != nil {
			t.Fatal(err)
		}
		if want := status(t, conn); s.Name != "app.db" || s.TXID != want.TXID || s.View != want.View || s.PageSize != 4096 {
			t.Errorf("status is %+v, want %+v", s, want)
		}
	}

	// They can be used like any function, and see the view of their own
	// statement.
	if got := mustQuery(t, conn, "SELECT litestream_txid() || ' ' || n FROM t"); got != "0000000000000002 2" {
		t.Errorf("in a query: %s", got)
	}
	if got := mustQuery(t, conn, "SELECT json_extract(value, '$.txid') FROM json_each(litestream_history())"); got != "0000000000000001\n0000000000000002\n0000000000000003\n0000000000000004" {
		t.Errorf("history:\n%s", got)
	}
	if got := mustQuery(t, conn, "SELECT json_extract(litestream_status(), '$.view.pages')"); got != "2" {
		t.Errorf("%s pages", got)
	}
	if got := mustQuery(t, conn, "SELECT typeof(litestream_lag()), typeof(litestream_txid())"); got != "integer|text" {
		t.Errorf("types are %s", got)
	}

	for _, c := range []struct{ expr, want string }{
		{"'" + p.Time(3).Format(time.RFC3339) + "'", "3"},
		{"'" + p.Time(1).Format("2006-01-02 15:04:05") + "'", "1"},
		{"'latest'", "4"},
		{"litestream_time()", "4"},
		{"(SELECT json_extract(litestream_history(), '$[1].time'))", "2"},
		{"'yesterday'", "4"},
	} {
		if got, want := mustQuery(t, conn, "SELECT litestream_set_time("+c.expr+")"), p.Time(ltx.TXID(c.want[0]-'0')).Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("set_time(%s) gives %s, want %s", c.expr, got, want)
		}
		if got := at(t, conn); got != c.want {
			t.Errorf("set_time(%s): at transaction %s, want %s", c.expr, got, c.want)
		}
	}
	if got, want := mustQuery(t, conn, "SELECT litestream_set_time(?)", p.Time(3)), p.Time(3).Format("2006-01-02T15:04:05.000Z"); got != want {
		t.Errorf("set_time of a time.Time gives %s, want %s", got, want)
	}
}

// TestFunctions_Errors checks that errors of the functions have text.
func TestFunctions_Errors(t *testing.T) {
	_, vfsName, _ := travelFixture(t, ltxtest.Options{}, 4)
	conn := openConn(t, vfsName, "app.db")
	mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000002'")
	check := func(q querier, query, want string) {
		t.Helper()
		got, err := queryText(q, query)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, error %v, want %q", query, got, err, want)
		}
	}
	check(conn, "SELECT litestream_set_time('no time at all')", "no time at all")
	check(conn, "SELECT litestream_set_time('it''s')", "it's")
	check(conn, "SELECT litestream_set_time('')", "invalid value")
	check(conn, "SELECT litestream_set_time('2001-01-01')", "transaction not available")
	check(conn, "SELECT litestream_set_time('1 day ago'), n FROM t", "within a transaction")
	check(conn, "SELECT litestream_set_time()", "wrong number of arguments")
	check(conn, "SELECT litestream_txid(1)", "wrong number of arguments")
	mustExec(t, conn, "BEGIN")
	at(t, conn)
	check(conn, "SELECT litestream_set_time('latest')", litestream.ErrInTransaction.Error())
	if got := at(t, conn); got != "2" {
		t.Errorf("at transaction %s after errors", got)
	}
	mustExec(t, conn, "COMMIT")

	// Where the main database is not a replica, the functions say so. A connection
	// without the VFS has none, unless its ConnectHook registers them.
	plain := plainConn(t, filepath.Join(t.TempDir(), "plain.db"))
	memory := plainConn(t, ":memory:")
	mustExec(t, plain, "ATTACH 'file:app.db?vfs="+vfsName+"' AS r")
	without := []querier{plain, memory}
	if !psanford {
		for _, q := range without {
			check(q, "SELECT litestream_txid()", "no such function")
		}
		without = []querier{openConn(t, vfsName, filepath.Join(t.TempDir(), "local.db"))}
	}
	for _, q := range without {
		for _, call := range []string{"litestream_txid()", "litestream_time()", "litestream_lag()", "litestream_status()", "litestream_history()", "litestream_set_time('latest')", "litestream_set_time('nonsense')"} {
			check(q, "SELECT "+call, "the main database is not served by litestream")
		}
		if got := mustQuery(t, q, "SELECT 1 + 1"); got != "2" {
			t.Errorf("plain SQLite says 1 + 1 is %s", got)
		}
	}
	if got := mustQuery(t, plain, "PRAGMA r.litestream_txid"); got != "0000000000000004" {
		t.Errorf("attached replica is at %s", got)
	}
}

// TestStatus checks that the status is one JSON object with every field, and
// that numbers are numbers.
func TestStatus(t *testing.T) {
	p, vfsName, _ := travelFixture(t, ltxtest.Options{}, 3)
	conn := openConn(t, vfsName, "app.db")
	mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000002'")
	wantCode(t, conn, "PRAGMA litestream_time = 'never'", litestream.CodeError)
	var s map[string]any
	if err := json.Unmarshal([]byte(mustQuery(t, conn, "PRAGMA litestream_status")), &s); err != nil {
		t.Fatal(err)
	}
	view, _ := s["view"].(map[string]any)
	lastError, _ := s["last_error"].(map[string]any)
	for _, c := range []struct{ what, got, want any }{
		{"name", s["name"], "app.db"}, {"txid", s["txid"], "0000000000000003"}, {"pages", s["pages"], 2.0}, {"page_size", s["page_size"], 4096.0},
		{"time", s["time"], p.Time(3).Format(time.RFC3339Nano)}, {"retries", s["retries"], 0.0},
		{"view.txid", view["txid"], "0000000000000002"}, {"view.time", view["time"], p.Time(2).Format(time.RFC3339Nano)},
		{"view.pages", view["pages"], 2.0}, {"view.travelling", view["travelling"], true},
		{"last_error.op", lastError["op"], "pragma litestream_time"},
	} {
		if c.got != c.want {
			t.Errorf("%s is %v, want %v", c.what, c.got, c.want)
		}
	}
	for _, counter := range []string{"lists", "reads", "read_bytes"} {
		if n, _ := s[counter].(float64); n < 1 {
			t.Errorf("%s is %v", counter, s[counter])
		}
	}
	for _, key := range []string{"lag", "poller", "cache_hits", "cache_misses"} {
		if s[key] == nil {
			t.Errorf("no %s", key)
		}
	}
	if at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(lastError["time"])); err != nil || time.Since(at) > time.Hour {
		t.Errorf("last_error.time is %v", lastError["time"])
	}
}

// TestLag checks that the lag is -1 until a poll has succeeded.
func TestLag(t *testing.T) {
	client := memoryClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (x)")
	vfsName, _ := newVFS(t, client, &litestream.Options{PollInterval: -1})
	conn := openConn(t, vfsName, "never.db")
	for _, query := range []string{"PRAGMA litestream_lag", "SELECT litestream_lag()"} {
		mustQuery(t, conn, "SELECT * FROM t")
		if got := mustQuery(t, conn, query); got != "-1" {
			t.Errorf("%s: %s before the first poll", query, got)
		}
	}
	vfsName, _ = newVFS(t, client, &litestream.Options{PollInterval: time.Millisecond})
	conn = openConn(t, vfsName, "polled.db")
	mustQuery(t, conn, "SELECT * FROM t")
	waitFor(t, "a lag", func() bool { return mustQuery(t, conn, "PRAGMA litestream_lag") == "0" })
	if got := mustQuery(t, conn, "SELECT litestream_lag()"); got == "-1" {
		t.Errorf("lag is %s after a poll", got)
	}
	if s := status(t, conn); s.Lag < 0 || s.Poller != "running" {
		t.Errorf("status says lag %d, poller %s", s.Lag, s.Poller)
	}
}

// TestFunctions_DirectOnly checks that functions which change something, or
// take long, cannot be called from views, triggers and other parts of a
// database's schema: an attacker may have written them. The other functions
// can.
func TestFunctions_DirectOnly(t *testing.T) {
	_, vfsName, _ := travelFixture(t, ltxtest.Options{}, 4)
	schema := []string{
		"CREATE VIEW %[1]s.v AS SELECT %[2]s AS x",
		"CREATE TABLE %[1]s.a (x); CREATE TRIGGER %[1]s.g AFTER INSERT ON a BEGIN SELECT %[2]s; END",
		"CREATE TABLE %[1]s.d (x DEFAULT (%[2]s), y)",
		"CREATE TABLE %[1]s.c (x CHECK (%[2]s IS NOT NULL))",
	}
	uses := []string{"SELECT x FROM %s.v", "INSERT INTO %s.a VALUES (1)", "INSERT INTO %s.d (y) VALUES (1)", "INSERT INTO %s.c VALUES (1)"}
	for _, call := range []string{"litestream_sync()", "litestream_set_time('latest')", "litestream_set_time(NULL)"} {
		name, _, _ := strings.Cut(call, "(")
		for i, statement := range schema {
			conn := openConn(t, vfsName, "app.db")
			mustExec(t, conn, "PRAGMA trusted_schema = ON; ATTACH ':memory:' AS local")
			statement = fmt.Sprintf(statement, "local", call)
			_, err := conn.ExecContext(t.Context(), statement)
			if err == nil {
				_, err = queryText(conn, fmt.Sprintf(uses[i], "local"))
			}
			if err == nil || !strings.Contains(err.Error(), "unsafe use of "+name+"()") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		if _, err := queryText(openConn(t, vfsName, "app.db"), "SELECT "+call); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	conn := openConn(t, vfsName, "app.db")
	mustExec(t, conn, "CREATE TEMP VIEW v AS SELECT litestream_txid() AS x, litestream_lag() AS y")
	if got := mustQuery(t, conn, "SELECT x FROM v"); got != "0000000000000004" {
		t.Errorf("a view says %s", got)
	}
	flags := mustQuery(t, conn, "SELECT group_concat(name || ' ' || (flags & 0x80000 <> 0), ', ' ORDER BY name) FROM pragma_function_list WHERE name LIKE 'litestream%'")
	if want := "litestream_history 0, litestream_hydration_file 0, litestream_hydration_progress 0, litestream_hydration_status 0, litestream_lag 0, litestream_set_time 1, litestream_set_txid 1, litestream_set_write_enabled 1, litestream_status 0, litestream_sync 1, litestream_time 0, litestream_txid 0, litestream_wait 1, litestream_wait 1, litestream_write_enabled 0"; flags != want {
		t.Errorf("directonly: %s, want %s", flags, want)
	}
}

// TestFunctions_Arguments passes arguments of every type. They are taken as
// text, and NULL gives NULL, as in the extension.
func TestFunctions_Arguments(t *testing.T) {
	_, vfsName, _ := travelFixture(t, ltxtest.Options{}, 4)
	conn := openConn(t, vfsName, "app.db")
	if got := mustQuery(t, conn, "SELECT litestream_set_time(NULL) IS NULL, litestream_set_time(CAST('latest' AS BLOB)) = litestream_time()"); got != "1|1" {
		t.Error(got)
	}
	if got, err := queryText(conn, "SELECT litestream_set_time(-1)"); err == nil || !strings.Contains(err.Error(), `"-1"`) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFunctions_SameAsPragmas checks that a function has the same type as in
// the extension, and returns the text of the PRAGMA of its name.
func TestFunctions_SameAsPragmas(t *testing.T) {
	store := memoryClient()
	newPrimary(t, store, ltxtest.Options{}, 10)
	for name, hydrated := range map[string]bool{"remote": false, "hydrated": true} {
		t.Run(name, func(t *testing.T) {
			vfsName, _ := newVFS(t, store, &litestream.Options{HydrationEnabled: hydrated, PollInterval: -1})
			conn := openConn(t, vfsName, "app.db")
			if hydrated {
				waitFor(t, "hydration", func() bool { return mustQuery(t, conn, "PRAGMA litestream_hydration_status") == "complete" })
			}
			for name, kind := range map[string]string{
				"txid": "text", "time": "text", "lag": "integer", "history": "text", "status": "text",
				"write_enabled": "integer", "hydration_progress": "real", "hydration_status": "text", "hydration_file": "text",
			} {
				f := "litestream_" + name + "()"
				if got := mustQuery(t, conn, "SELECT typeof("+f+")"); got != kind {
					t.Errorf("%s is %s, want %s", f, got, kind)
				}
				text, pragma := mustQuery(t, conn, "SELECT "+f+" || ''"), mustQuery(t, conn, "PRAGMA litestream_"+name)
				if name != "status" && text != pragma { // the status has counters
					t.Errorf("%s gives %q, the PRAGMA %q", f, text, pragma)
				}
			}
			want := map[bool]string{false: "0.0", true: "100.0"}[hydrated]
			if got := mustQuery(t, conn, "PRAGMA litestream_hydration_progress"); got != want {
				t.Errorf("progress is %s, want %s", got, want)
			}
		})
	}
}

// TestFunctions_StorageFails calls functions that need storage while it fails. Their
// errors say why.
func TestFunctions_StorageFails(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1).Exec("UPDATE t SET n = 2")
	store := decorate.NewFault(client)
	vfsName, _ := newVFS(t, store, &litestream.Options{PollInterval: -1})
	conn := openConn(t, vfsName, "app.db")
	mustQuery(t, conn, "SELECT n FROM t")
	remove := store.Add(decorate.Rule{Err: fmt.Errorf("list: %w", fs.ErrPermission)})
	for _, call := range []string{"litestream_history()", "litestream_set_txid('0000000000000001')", "litestream_set_time('an hour ago')"} {
		if got, err := queryText(conn, "SELECT "+call); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %q, %v", call, got, err)
		}
	}
	remove()
	wantSQL(t, conn, "SELECT json_array_length(litestream_history())", "2")
}

// TestLag_Seconds lets storage fail for a while. The function and the PRAGMA say how
// many seconds ago the last poll was that succeeded.
func TestLag_Seconds(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	synctest.Test(t, func(t *testing.T) {
		store := decorate.NewFault(client)
		conn, _, closeAll := openOne(t, store, &litestream.Options{PollIdleAfter: -1}, "app.db")
		defer closeAll()
		mustQuery(t, conn, "SELECT n FROM t")
		time.Sleep(litestream.DefaultPollInterval + time.Millisecond)
		store.Add(decorate.Rule{Err: errors.New("storage is down")})
		for _, seconds := range []time.Duration{12, 110} {
			time.Sleep(seconds * time.Second)
			want := mustQuery(t, conn, "PRAGMA litestream_lag")
			if got := mustQuery(t, conn, "SELECT litestream_lag()"); got != want || len(want) != len(fmt.Sprint(int(seconds))) {
				t.Errorf("after %d seconds the lag is %s, and by the PRAGMA %s", seconds, got, want)
			}
		}
	})
}
