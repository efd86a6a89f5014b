package sqlsuite

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// states is a replica whose transaction i has the rows 1 to i.
type states struct {
	r     replica
	w     *conn
	txids []string
	times []string
}

// states makes such a replica. Its transactions differ in their times.
func (e *env) states(count int) *states {
	e.Helper()
	s := &states{r: e.replica()}
	s.w = e.start().writer(s.r)
	for range count {
		s.add(e)
	}
	return s
}

// add adds a transaction.
func (s *states) add(e *env) {
	e.Helper()
	if len(s.txids) == 0 {
		s.w.runAll("BEGIN", "CREATE TABLE t (v INTEGER PRIMARY KEY, pad)", "CREATE TABLE first (x)")
	} else {
		last, err := time.Parse(time.RFC3339, s.times[len(s.times)-1])
		if err != nil {
			e.Fatal(err)
		}
		e.until(func() bool { return time.Since(last) > 2*time.Millisecond }, func() string { return "the clock stands still" })
		s.w.runAll("BEGIN", fmt.Sprintf("CREATE TABLE t%d (x)", len(s.txids)))
	}
	s.w.run("INSERT INTO t VALUES (?, hex(zeroblob(800)))", len(s.txids)+1)
	s.w.run("COMMIT")
	s.txids = append(s.txids, s.w.sync())
	s.times = append(s.times, s.w.run("PRAGMA litestream_time"))
}

// wantAt compares what a connection sees, in a schema, with state i.
func (s *states) wantAt(c *conn, schema string, i int) {
	c.e.Helper()
	c.want("SELECT count(*), max(v), sum(length(pad)) FROM "+schema+".t", fmt.Sprintf("%d|%d|%d", i+1, i+1, (i+1)*1600))
	c.want("SELECT count(*) FROM "+schema+".sqlite_schema", fmt.Sprint(i+2))
	c.want("PRAGMA "+schema+".litestream_txid", s.txids[i])
	c.want("PRAGMA "+schema+".litestream_time", s.times[i])
}

var travelCases = []testCase{
	{name: "by transaction and by time", run: func(e *env) {
		s := e.states(5)
		reader := e.start().reader(s.r)
		if e.hydrated {
			reader.complete()
		}
		for _, c := range []*conn{reader, s.w} { // what a writer has uploaded is a state, too
			for _, i := range []int{0, 3, 1, 4, 2} {
				c.run("PRAGMA litestream_txid = '" + s.txids[i] + "'")
				s.wantAt(c, "main", i)
				c.run("PRAGMA litestream_txid = latest")
				s.wantAt(c, "main", 4)
				c.run("PRAGMA litestream_time = '" + s.times[i] + "'")
				s.wantAt(c, "main", i)
			}
			if got := c.status().View; !got.Travelling || got.TXID != s.txids[2] {
				e.Errorf("status has view %+v", got)
			}
			c.check()
			c.run("PRAGMA litestream_time = latest")
			s.wantAt(c, "main", 4)
		}
	}},

	{name: "a connection stays where it is", run: func(e *env) {
		s := e.states(3)
		in := e.start()
		c, other := in.reader(s.r), in.reader(s.r)
		c.run("PRAGMA litestream_txid = '" + s.txids[1] + "'")
		c.run("BEGIN")
		s.wantAt(c, "main", 1)
		s.add(e)
		other.follow(s.txids[3])
		s.wantAt(other, "main", 3)
		s.wantAt(c, "main", 1)
		for _, pragma := range []string{"txid = latest", "time = latest", "txid = '" + s.txids[0] + "'"} {
			c.fails(codeError, "", "PRAGMA litestream_"+pragma)
		}
		s.wantAt(c, "main", 1)
		c.run("COMMIT")
		s.wantAt(c, "main", 1)
		c.run("PRAGMA litestream_txid = latest")
		s.wantAt(c, "main", 3)
	}},

	{name: "errors leave the connection as it was", run: func(e *env) {
		s := e.states(3)
		for _, c := range []*conn{e.start().reader(s.r), s.w} {
			c.run("PRAGMA litestream_txid = '" + s.txids[1] + "'")
			for _, pragma := range []string{
				"txid = '00000000000000ff'", "txid = 'nonsense'", "txid = 0", "txid = ''", "time = 'never'", "time = '2001-01-01'", "time = ''",
				"lag = 1", "history = 1", "status = 1",
			} {
				if e.binding.NoEmptyValues != "" && strings.HasSuffix(pragma, "''") {
					continue
				}
				c.fails(codeError, "", "PRAGMA litestream_"+pragma)
				s.wantAt(c, "main", 1)
			}
			c.fails(codeReadOnly, "", "INSERT INTO t (v) VALUES (100)")
			c.fails(codeReadOnly, "", "CREATE TABLE u (v)")
			s.wantAt(c, "main", 1)
			c.run("PRAGMA litestream_txid = latest")
			s.wantAt(c, "main", 2)
		}
		s.w.run("INSERT INTO t (v) VALUES (100)")
	}},

	{name: "the past is attached beside the present", run: func(e *env) {
		s := e.states(4)
		in := e.start()
		c := in.reader(s.r)
		c.run("ATTACH ? AS past", in.uri(s.r))
		c.run("PRAGMA past.litestream_txid = '" + s.txids[1] + "'")
		s.wantAt(c, "main", 3)
		s.wantAt(c, "past", 1)
		c.want("SELECT group_concat(v) FROM (SELECT v FROM main.t EXCEPT SELECT v FROM past.t)", "3,4")
		c.run("PRAGMA main.litestream_txid = '" + s.txids[0] + "'")
		s.wantAt(c, "main", 0)
		s.wantAt(c, "past", 1)
		c.run("PRAGMA main.litestream_time = latest")
		c.run("DETACH past")
		s.wantAt(c, "main", 3)
	}},

	{name: "the history lists the points in time", run: func(e *env) {
		s := e.states(4)
		c := e.start().reader(s.r)
		var points []struct{ TXID, Time string }
		if err := json.Unmarshal([]byte(c.run("PRAGMA litestream_history")), &points); err != nil {
			e.Fatal(err)
		}
		var txids []string
		for _, p := range points {
			txids = append(txids, p.TXID)
		}
		if !slices.Equal(txids, s.txids) {
			e.Errorf("the history is %v, want %v", txids, s.txids)
		}
	}},

	{name: "to before an accident, on a replica of Litestream", run: func(e *env) {
		c := e.start().reader(e.replicaAt(e.copyReplica("sandwiches")))
		const query = "SELECT count(*), max(stars) > 1 FROM sandwich_ratings"
		c.want(query, "4988|0")
		c.run("PRAGMA litestream_time = '2026-03-14 11:59:49'")
		c.want("PRAGMA litestream_time", "2026-03-14T11:59:48.309Z")
		c.want(query, "4988|1")
		c.check()
		c.run("PRAGMA litestream_txid = '0000000000000002'")
		c.want("SELECT count(*) FROM sandwich_ratings", "360")
		c.fails(codeError, "", "PRAGMA litestream_txid = '0000000000000017'") // it is within a compacted file
		c.want("SELECT count(*) FROM sandwich_ratings", "360")
		c.run("PRAGMA litestream_time = latest")
		c.want(query, "4988|0")
	}},
}
