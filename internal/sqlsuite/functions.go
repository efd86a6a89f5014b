package sqlsuite

import (
	"encoding/json"
	"strings"
)

// getters are the SQL functions without arguments, with the types of their
// results. Each returns what the PRAGMA of its name does.
var getters = map[string]string{
	"litestream_txid":               "text",
	"litestream_time":               "text",
	"litestream_lag":                "integer",
	"litestream_status":             "text",
	"litestream_history":            "text",
	"litestream_hydration_progress": "real",
	"litestream_hydration_status":   "text",
	"litestream_hydration_file":     "text",
	"litestream_write_enabled":      "integer",
	"litestream_sync":               "text",
}

// setters are the SQL functions with an argument.
var setters = []string{"litestream_set_time", "litestream_set_txid", "litestream_set_write_enabled", "litestream_wait"}

var functionCases = []testCase{
	{name: "they return what the PRAGMAs do", run: func(e *env) {
		s := e.states(3)
		in := e.start()
		for _, c := range []*conn{in.reader(s.r), s.w} {
			if e.hydrated {
				c.complete()
			}
			for _, at := range []string{"latest", "'" + s.txids[1] + "'"} {
				c.run("PRAGMA litestream_txid = " + at)
				for name, kind := range getters {
					c.want("SELECT typeof("+name+"())", kind)
					call, pragma := "SELECT "+name+"()", "PRAGMA "+name
					switch name {
					case "litestream_status":
						if got := c.run(call); !json.Valid([]byte(got)) || !strings.Contains(got, `"name":`) {
							e.Errorf("%s gives %s", call, got)
						}
					case "litestream_lag":
						c.eventually(call, c.run(pragma)) // a second may pass between the two
					case "litestream_hydration_progress":
						c.want("SELECT printf('%.1f', "+name+"())", c.run(pragma))
					default:
						c.want(call, c.run(pragma))
					}
				}
			}
			c.run("PRAGMA litestream_txid = '" + s.txids[0] + "'")
			c.want("SELECT litestream_txid() || ' ' || v FROM t", s.txids[0]+" 1")
			c.want("SELECT json_extract(value, '$.txid') FROM json_each(litestream_history())", strings.Join(s.txids, "\n"))
		}
	}},

	{name: "they set", run: func(e *env) {
		s := e.states(4)
		c := e.start().reader(s.r, "mode=rw", "sync_interval=-1s")
		c.want("SELECT litestream_set_time('"+s.times[1]+"')", s.times[1])
		s.wantAt(c, "main", 1)
		c.want("SELECT litestream_set_time((SELECT json_extract(litestream_history(), '$[2].time')))", s.times[2])
		s.wantAt(c, "main", 2)
		c.want("SELECT litestream_set_time(NULL)", "NULL")
		s.wantAt(c, "main", 2)
		c.want("SELECT litestream_set_txid('"+s.txids[0]+"')", s.txids[0])
		s.wantAt(c, "main", 0)
		c.want("SELECT litestream_set_txid('latest')", s.txids[3])
		s.wantAt(c, "main", 3)
		c.want("SELECT litestream_set_time('latest')", s.times[3])
		s.wantAt(c, "main", 3)
		c.want("SELECT litestream_wait('"+s.txids[3]+"')", s.txids[3])
		c.want("SELECT litestream_wait('"+s.txids[1]+"', 0.5)", s.txids[3])
		c.want("SELECT litestream_wait(NULL), litestream_wait(NULL, 1), litestream_wait('"+s.txids[3]+"', NULL)", "NULL|NULL|NULL")
		c.want("SELECT litestream_set_write_enabled(1)", "1")
		c.run("INSERT INTO t (v) VALUES (100)")
		synced := c.run("SELECT litestream_sync()")
		c.want("SELECT litestream_txid()", synced)
		c.want("SELECT litestream_set_write_enabled('off')", "0")
		c.fails(codeReadOnly, "", "INSERT INTO t (v) VALUES (101)")
	}},

	{name: "their errors have texts", near: true, run: func(e *env) {
		s := e.states(2)
		c := e.start().reader(s.r)
		c.run("PRAGMA litestream_txid = '" + s.txids[0] + "'")
		fails := func(text, expression string) {
			e.Helper()
			c.fails(codeError, text, "SELECT "+expression)
			s.wantAt(c, "main", 0)
		}
		fails("no time at all", "litestream_set_time('no time at all')")
		fails("it's", "litestream_set_time('it''s')")
		fails("invalid value", "litestream_set_time('')")
		fails("transaction not available", "litestream_set_time('2001-01-01')")
		fails("within a transaction", "litestream_set_time('latest'), v FROM t")
		fails("wrong number of arguments", "litestream_set_time()")
		fails("wrong number of arguments", "litestream_txid(1)")
		fails("transaction not available", "litestream_set_txid('00000000000000ff')")
		fails("nonsense", "litestream_set_txid('nonsense')")
		fails("the newest is "+s.txids[1], "litestream_wait('00000000000000ff', 0)")
		fails("limit", "litestream_wait('00000000000000ff', 'soon')")
		fails("no transaction id", "litestream_wait('nonsense')")
		fails("maybe", "litestream_set_write_enabled('maybe')")
		c.run("BEGIN")
		s.wantAt(c, "main", 0)
		fails("within a transaction", "litestream_set_time('latest')")
		c.run("COMMIT")
		s.wantAt(c, "main", 0)
	}},

	{name: "the schema cannot call those that change something", near: true, run: func(e *env) {
		in, r := e.start(), e.replica()
		w := in.writer(r)
		w.run("CREATE TABLE t (v)")
		for _, name := range append([]string{"litestream_sync"}, setters...) {
			call := name + "('latest')"
			if name == "litestream_sync" {
				call = name + "()"
			}
			view := strings.TrimPrefix(name, "litestream_")
			w.runAll("CREATE VIEW "+view+" AS SELECT "+call, "CREATE TRIGGER on_"+view+" AFTER INSERT ON t WHEN new.v = '"+view+"' BEGIN SELECT "+call+"; END")
			w.fails(codeError, "unsafe use of", "SELECT * FROM "+view)
			w.fails(codeError, "unsafe use of", "INSERT INTO t VALUES ('"+view+"')")
		}
		w.runAll("CREATE VIEW at AS SELECT litestream_txid(), litestream_write_enabled()", "CREATE TABLE u (v)")
		w.want("SELECT * FROM at", w.sync()+"|1")
	}},

	{name: "they concern the main database", near: true, run: func(e *env) {
		s := e.states(1)
		in := e.start()
		c := in.plain()
		c.run("ATTACH ? AS r", in.uri(s.r))
		reason := "the main database is not served by litestream"
		if e.binding.NoPlainFunctions != "" {
			reason = "no such function"
		}
		for name := range getters {
			c.fails(codeError, reason, "SELECT "+name+"()")
		}
		for _, name := range setters {
			c.fails(codeError, reason, "SELECT "+name+"('latest')")
		}
		c.want("PRAGMA r.litestream_txid", s.txids[0])
		c.want("SELECT 1 + 1", "2")
	}},
}
