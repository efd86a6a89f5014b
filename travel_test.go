package litestream_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/superfly/ltx"
)

// travelFixture makes a replica with a table n that holds the number of the
// transaction.
func travelFixture(t *testing.T, opts ltxtest.Options, txns int) (p *ltxtest.Primary, vfsName string, log *testlog.Buffer) {
	t.Helper()
	client := memoryClient()
	p = ltxtest.New(t, client, opts)
	p.Exec("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
	for range txns - 1 {
		p.Exec("UPDATE t SET n = n + 1")
	}
	log = new(testlog.Buffer)
	vfsName, _ = newVFS(t, client, &litestream.Options{PollInterval: time.Millisecond, Logger: testlog.New(t, log)})
	return p, vfsName, log
}

// at returns the number of the transaction that a connection sees.
func at(t testing.TB, q querier) string {
	t.Helper()
	return mustQuery(t, q, "SELECT n FROM t")
}

// TestTravel_Times travels by every form of a time.
func TestTravel_Times(t *testing.T) {
	client := memoryClient()
	now := time.Now().UTC().Truncate(time.Second)
	p := ltxtest.New(t, client, ltxtest.Options{Start: now.Add(-80 * time.Hour), Step: -1})
	p.Exec("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
	clock := 80 * time.Hour
	for i, ago := range []time.Duration{50 * time.Hour, 30 * time.Hour, 20 * time.Hour, 90 * time.Minute, 30 * time.Minute, 7 * time.Minute, 2 * time.Minute} {
		p.Advance(clock - ago)
		clock = ago
		p.Exec("UPDATE t SET n = ?", i+2)
	}
	vfsName, _ := newVFS(t, client, nil)
	conn := openConn(t, vfsName, "app.db")
	third := p.Time(3)
	for _, c := range []struct{ expr, want string }{
		{"5 minutes ago", "7"}, {"10 minutes ago", "6"}, {"-10m", "6"}, {"an hour ago", "5"}, {"2 hours ago", "4"}, {"1 minute ago", "8"},
		{"yesterday", "3"}, {"YESTERDAY", "3"}, {"1 day ago", "3"}, {"2 days ago", "2"}, {"3 days ago", "1"}, {"now", "8"},
		{third.Format(time.RFC3339), "3"}, {third.Format("2006-01-02 15:04:05"), "3"}, {third.Format("2006-01-02T15:04:05.000"), "3"},
		{third.Add(-time.Millisecond).Format(time.RFC3339Nano), "2"}, {third.Add(-time.Second).Format("2006-01-02 15:04:05"), "2"},
		{third.Add(time.Millisecond).Format(time.RFC3339Nano), "3"},
		{third.In(time.FixedZone("", 5*3600+1800)).Format(time.RFC3339), "3"},
		{third.In(time.FixedZone("", -8*3600)).Format("2006-01-02 15:04:05-07:00"), "3"},
		{"@" + fmt.Sprint(third.Unix()), "3"}, {"9999-12-31T23:59:59Z", "8"}, {"latest", "8"}, {" Latest ", "8"},
	} {
		mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000005'")
		mustExec(t, conn, "PRAGMA litestream_time = '"+c.expr+"'")
		if got := at(t, conn); got != c.want {
			t.Errorf("%s: at transaction %s, want %s", c.expr, got, c.want)
		}
		if got := mustQuery(t, conn, "PRAGMA litestream_txid"); got != "000000000000000"+c.want {
			t.Errorf("%s: txid %s, want %s", c.expr, got, c.want)
		}
		if got, want := mustQuery(t, conn, "PRAGMA litestream_time"), p.Time(ltx.TXID(c.want[0]-'0')).Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%s: time %s, want %s", c.expr, got, want)
		}
		travelling := !strings.EqualFold(strings.TrimSpace(c.expr), "latest")
		if s := status(t, conn); s.View.Travelling != travelling || s.View.TXID != "000000000000000"+c.want || s.TXID != 8 {
			t.Errorf("%s: status has view %v of %s", c.expr, s.View, s.TXID)
		}
	}
}

// TestTravel_Refused checks that a refused travel leaves the view unchanged,
// and that status and log give the reason.
func TestTravel_Refused(t *testing.T) {
	p, vfsName, log := travelFixture(t, ltxtest.Options{}, 5)
	conn := openConn(t, vfsName, "app.db")
	mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000003'")
	refused := func(query, text string) {
		t.Helper()
		wantCode(t, conn, query, litestream.CodeError)
		e := status(t, conn).LastError
		op, _, _ := strings.Cut(strings.TrimPrefix(query, "PRAGMA "), " ")
		if e == nil || !strings.Contains(e.Text, text) || e.Op != "pragma "+op {
			t.Errorf("%s: last error is %v, want %q", query, e, text)
		} else if !strings.Contains(log.String(), text) {
			t.Errorf("%s: the log does not say %q", query, text)
		}
		if got := at(t, conn); got != "3" {
			t.Errorf("%s: at transaction %s", query, got)
		}
	}
	for _, c := range []struct{ pragma, value, text string }{
		{"litestream_time", "", "invalid value"},
		{"litestream_time", "gibberish", "gibberish"},
		{"litestream_time", "2026-13-01", "out of range"},
		{"litestream_time", "tomorrow", "invalid value"},
		{"litestream_time", "5 minutes", "invalid value"},
		{"litestream_time", p.Time(1).Add(-time.Millisecond).Format(time.RFC3339Nano), "the oldest is younger"},
		{"litestream_txid", "", "invalid value"},
		{"litestream_txid", "5", "16 hex digits"},
		{"litestream_txid", "0000000000000000", "invalid value"},
		{"litestream_txid", "000000000000000g", "invalid value"},
		{"litestream_txid", "-000000000000001", "invalid value"},
		{"litestream_txid", "00000000000000001", "invalid value"},
		{"litestream_txid", "0000000000000006", "transaction not available"},
		{"litestream_txid", "ffffffffffffffff", "transaction not available"},
		{"litestream_lag", "1", "cannot be set"},
		{"litestream_status", "1", "cannot be set"},
		{"litestream_history", "1", "cannot be set"},
	} {
		if c.value == "" && !emptyValues {
			continue
		}
		refused("PRAGMA "+c.pragma+" = '"+c.value+"'", c.text)
	}

	// Travel is refused within a transaction, whatever the value is.
	for _, begin := range []string{"BEGIN; SELECT n FROM t", "SAVEPOINT s; SELECT n FROM t"} {
		mustExec(t, conn, begin)
		at(t, conn)
		for _, set := range []string{"litestream_txid = '0000000000000001'", "litestream_txid = '0000000000000003'", "litestream_time = 'now'", "litestream_time = 'latest'"} {
			refused("PRAGMA "+set, "within a transaction")
		}
		mustExec(t, conn, "ROLLBACK")
	}
	rows, err := conn.QueryContext(t.Context(), "SELECT n FROM t")
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	wantCode(t, conn, "PRAGMA litestream_time = 'latest'", litestream.CodeError)
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	refused("PRAGMA litestream_txid = 'x'", "invalid value")
	mustExec(t, conn, "PRAGMA LITESTREAM_TIME = 'latest'")
	if got := at(t, conn); got != "5" {
		t.Errorf("at transaction %s", got)
	}
}

// TestTravel_PerConnection has several connections at different times at once,
// each in a transaction, while the primary continues.
func TestTravel_PerConnection(t *testing.T) {
	p, vfsName, _ := travelFixture(t, ltxtest.Options{}, 6)
	var conns []*sql.Conn
	for i := range 6 {
		conn := openConn(t, vfsName, "app.db")
		mustExec(t, conn, fmt.Sprintf("PRAGMA litestream_txid = '%016x'", i+1))
		conns = append(conns, conn)
	}
	follower := openConn(t, vfsName, "app.db")
	for round := range 3 {
		for _, conn := range conns {
			mustExec(t, conn, "BEGIN")
		}
		p.Exec("UPDATE t SET n = n + 1")
		waitFor(t, "the follower to follow", func() bool { return at(t, follower) == fmt.Sprint(7+round) })
		for i, conn := range conns {
			// The last connection travelled to the state that was current then,
			// and stays there.
			if got := at(t, conn); got != fmt.Sprint(i+1) {
				t.Errorf("connection at %d reads %s", i+1, got)
			}
			if !status(t, conn).View.Travelling {
				t.Errorf("connection at %d is not travelling", i+1)
			}
		}
		for _, conn := range conns {
			mustExec(t, conn, "COMMIT")
		}
	}

	// One connection can compare two times.
	conn := conns[0]
	mustExec(t, conn, "ATTACH 'app.db' AS other")
	mustExec(t, conn, "PRAGMA other.litestream_txid = '0000000000000004'")
	if got := mustQuery(t, conn, "SELECT a.n, b.n FROM main.t a, other.t b"); got != "1|4" {
		t.Errorf("two times: %s, want 1|4", got)
	}
	if got := mustQuery(t, conn, "PRAGMA main.litestream_txid") + mustQuery(t, conn, "PRAGMA other.litestream_txid"); got != "00000000000000010000000000000004" {
		t.Errorf("two txids: %s", got)
	}
}

// TestTravel_LatestFollows travels back and forth. After latest, a connection
// follows the primary like one that never travelled.
func TestTravel_LatestFollows(t *testing.T) {
	p, vfsName, _ := travelFixture(t, ltxtest.Options{}, 3)
	conn := openConn(t, vfsName, "app.db")
	for n, latest := range []string{"litestream_time = 'latest'", "litestream_txid = 'latest'", "litestream_time = latest"} {
		mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000002'")
		p.Exec("UPDATE t SET n = n + 1")
		if got := at(t, conn); got != "2" {
			t.Errorf("travelling connection reads %s", got)
		}
		mustExec(t, conn, "PRAGMA "+latest)
		waitFor(t, "news after "+latest, func() bool { return at(t, conn) == fmt.Sprint(n+4) })
	}
}

// TestTravel_AnyState compares whole states in random order on one connection.
// The database grows, shrinks and changes its schema.
func TestTravel_AnyState(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{PageSize: 512})
	rng := rand.New(rand.NewPCG(7, 7))
	p.Exec("CREATE TABLE a (id INTEGER PRIMARY KEY, x)")
	for i := range 25 {
		switch {
		case i == 8:
			p.Exec("CREATE TABLE b AS SELECT * FROM a; CREATE INDEX bx ON b (x)")
		case i == 20:
			p.Exec("DROP TABLE b")
		case i%6 == 5:
			p.Exec("DELETE FROM a WHERE id % 4")
			p.Exec("VACUUM")
		case i == 10:
			p.Compact(1, 1, 7)
			p.Snapshot()
		default:
			p.Exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO a (x) SELECT i * 7919 % 1009 || hex(zeroblob(20 + i)) FROM n")
		}
	}
	vfsName, _ := newVFS(t, client, &litestream.Options{CacheSize: 20 << 10})
	conn := openConn(t, vfsName, "app.db")
	plain := map[ltx.TXID]*sql.Conn{}
	sizes := map[string]bool{}
	for range 3 * p.TXID() {
		txid := ltx.TXID(rng.IntN(int(p.TXID()))) + 1
		if plain[txid] == nil {
			plain[txid] = plainConn(t, plainFile(t, p.Image(txid)))
		}
		mustExec(t, conn, "PRAGMA litestream_txid = '"+txid.String()+"'")
		for _, query := range []string{
			"PRAGMA page_count", "SELECT name, sql FROM sqlite_schema", "SELECT * FROM a",
			"SELECT count(*) FROM b INDEXED BY bx WHERE x > '8'", "PRAGMA integrity_check", "PRAGMA freelist_count",
		} {
			if got, want := result(conn, query), result(plain[txid], query); got != want {
				t.Errorf("%s: %s: %.200s, want %.200s", txid, query, got, want)
			}
		}
		sizes[mustQuery(t, conn, "PRAGMA page_count")] = true
	}
	if len(sizes) < 10 {
		t.Errorf("only %d sizes", len(sizes))
	}
}

// TestTravel_PartlyExpiredLevel0 travels where retention has deleted the older
// part of the files that a file of level 1 covers. The remaining files cannot
// be reached from any state, and are not reported as a gap.
func TestTravel_PartlyExpiredLevel0(t *testing.T) {
	client := memoryClient()
	p := numberedReplica(t, client, 1)
	for n := 2; n <= 14; n++ {
		p.Exec("UPDATE t SET n = n + 1")
		switch n {
		case 4:
			p.Snapshot()
		case 12:
			p.Compact(1, 5, 12)
			p.DeleteLevelBelow(0, 8)
		}
	}
	vfsName, _ := newVFS(t, client, nil)
	conn := openConn(t, vfsName, "app.db")
	for n := 4; n <= 14; n++ {
		want := n
		if n < 12 {
			want = 4 // the newest earlier state that is left
		}
		mustExec(t, conn, "PRAGMA litestream_time = '"+p.Time(ltx.TXID(n)).Format(time.RFC3339Nano)+"'")
		if got := at(t, conn); got != fmt.Sprint(want) {
			t.Errorf("time of %d: at transaction %s, want %d", n, got, want)
		}
	}
}

// TestTravel_RacesRetention deletes files after they were listed and before
// their headers are read.
func TestTravel_RacesRetention(t *testing.T) {
	client := memoryClient()
	p := numberedReplica(t, client, 1)
	for range 7 {
		p.Exec("UPDATE t SET n = n + 1")
	}
	fault := decorate.NewFault(client)
	vfsName, _ := newVFS(t, fault, &litestream.Options{PollInterval: -1})
	conn := openConn(t, vfsName, "app.db")
	for _, c := range []struct {
		first, last ltx.TXID // range that is compacted
		at          time.Time
		want        string
	}{
		{1, 8, p.Time(8).Add(time.Hour), "8"},
		{9, 10, p.Time(8).Add(1500 * time.Millisecond), "8"},
	} {
		for p.TXID() < c.last {
			p.Exec("UPDATE t SET n = n + 1")
		}
		p.Compact(1, c.first, c.last)
		raced := false
		fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpListAll), Times: 1, After: func(decorate.Call, error) {
			raced = true
			p.DeleteLevelBelow(0, c.last+1)
		}})
		mustExec(t, conn, "PRAGMA litestream_time = '"+c.at.Format(time.RFC3339Nano)+"'")
		if got := at(t, conn); got != c.want {
			t.Errorf("%s: at transaction %s, want %s", c.at, got, c.want)
		}
		if !raced {
			t.Errorf("%s: nothing was deleted after the listing", c.at)
		}
	}
}

// TestHistory checks that the history lists exactly the points of the manifest,
// with their times, and that each can be travelled to.
func TestHistory(t *testing.T) {
	for _, name := range []string{"sandwiches", "compacted", "snapshot-only", "overlap"} {
		t.Run(name, func(t *testing.T) {
			source := replicaDir(t, name)
			m := readManifest(t, source)
			vfsName, _ := newVFS(t, file.NewReplicaClient(copyReplica(t, t.TempDir(), source)), nil)
			conn := openConn(t, vfsName, "app.db")
			var points []litestream.HistoryPoint
			if err := json.Unmarshal([]byte(mustQuery(t, conn, "PRAGMA litestream_history")), &points); err != nil {
				t.Fatal(err)
			}
			var got, want []string
			for _, p := range points {
				got = append(got, p.TXID.String())
			}
			for _, p := range m.Points {
				want = append(want, p.TXID)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("points\n%v, want\n%v", got, want)
			}
			for _, p := range points {
				mustExec(t, conn, "PRAGMA litestream_time = '"+p.Time.Format(time.RFC3339Nano)+"'")
				if got := mustQuery(t, conn, "PRAGMA litestream_txid"); got != p.TXID.String() {
					t.Errorf("at %s the replica is at %s, want %s", p.Time, got, p.TXID)
				}
			}
		})
	}
}

// TestHistory_LeavesOutWhatIsLost has transactions before the oldest snapshot
// that no longer connect to any state.
func TestHistory_LeavesOutWhatIsLost(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
	for range 3 {
		p.Exec("UPDATE t SET n = n + 1")
	}
	p.Snapshot()
	p.Exec("UPDATE t SET n = n + 1")
	p.Delete(0, 1, 1)
	vfsName, _ := newVFS(t, client, nil)
	conn := openConn(t, vfsName, "app.db")
	if got := mustQuery(t, conn, "SELECT json_extract(value, '$.txid') FROM json_each(litestream_history())"); got != "0000000000000004\n0000000000000005" {
		t.Errorf("points:\n%s", got)
	}
	for _, txid := range []string{"1", "2", "3"} {
		wantCode(t, conn, "PRAGMA litestream_txid = '000000000000000"+txid+"'", litestream.CodeError)
	}
	wantCode(t, conn, "PRAGMA litestream_time = '"+p.Time(3).Format(time.RFC3339)+"'", litestream.CodeError)
	if got := at(t, conn); got != "5" {
		t.Errorf("at transaction %s", got)
	}
}
