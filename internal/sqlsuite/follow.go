package sqlsuite

import "fmt"

var followCases = []testCase{
	{name: "a reader waits for a transaction", run: func(e *env) {
		r := e.replica()
		w := e.start().writer(r)
		w.run("CREATE TABLE t (v)")
		w.sync()
		c := e.start().reader(r)
		for i := range 3 {
			w.run("INSERT INTO t VALUES (?)", i)
			txid := w.sync()
			c.run("PRAGMA litestream_wait = '" + txid + "'")
			c.want("SELECT count(*), max(v) FROM t", fmt.Sprintf("%d|%d", i+1, i))
			c.want("PRAGMA litestream_txid", txid)
		}
		c.fails(codeError, "", "PRAGMA litestream_wait = '00000000000000ff 0.01'")
		c.fails(codeError, "", "PRAGMA litestream_wait = 'nonsense'")
		c.want("SELECT count(*) FROM t", "3")
	}},

	{name: "a reader sees what a writer has uploaded", run: func(e *env) {
		r := e.replica()
		w := e.start().writer(r)
		w.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v)")
		w.run(numbers("300") + "INSERT INTO t SELECT i, printf('%0200d', i) FROM n")
		w.sync()
		in := e.start()
		c, other := in.reader(r), in.reader(r)
		c.run("PRAGMA cache_size = 5") // so that it reads pages again
		const query = "SELECT count(*), sum(id), max(v) FROM t"
		for _, change := range []string{
			"UPDATE t SET v = 'x' || v WHERE id % 7 = 1",
			numbers("200") + "INSERT INTO t SELECT i + 1000, v FROM n JOIN t ON t.id = n.i",
			"DELETE FROM t WHERE id BETWEEN 50 AND 250",
		} {
			before := w.run(query)
			version := c.run("PRAGMA data_version")
			c.run("BEGIN")
			c.want(query, before)
			w.run(change)
			w.sync()
			other.eventually(query, w.run(query))
			c.want(query, before) // as its transaction has begun
			c.run("COMMIT")
			c.want(query, w.run(query))
			if got := c.run("PRAGMA data_version"); got == version {
				e.Errorf("data_version stays %s", got)
			}
		}
		c.check()
		if lag := c.run("PRAGMA litestream_lag"); lag != "0" && lag != "1" && lag != "2" {
			e.Errorf("the lag is %s s", lag)
		}
	}},

	{name: "a reader follows the schema and the size", run: func(e *env) {
		r := e.replica()
		w := e.start().writer(r)
		w.runAll("CREATE TABLE t (v)", numbers("2000")+"INSERT INTO t SELECT printf('%0100d', i) FROM n")
		w.sync()
		c := e.start().reader(r)
		statement, err := c.c.PrepareContext(e.ctx, "SELECT v FROM t ORDER BY rowid LIMIT 1")
		if err != nil {
			e.Fatal(err)
		}
		defer statement.Close()
		first := func() string {
			rows, err := statement.QueryContext(e.ctx)
			if err != nil {
				return err.Error()
			}
			defer rows.Close()
			s, err := textOf(rows)
			if err != nil {
				return err.Error()
			}
			return s
		}
		w.runAll("ALTER TABLE t ADD COLUMN extra DEFAULT 5", "CREATE INDEX te ON t (extra, v)", "UPDATE t SET v = rowid")
		w.sync()
		c.eventually("SELECT count(*) FROM sqlite_schema", "2")
		if got := first(); got != "1" {
			e.Errorf("a prepared statement gives %s", got)
		}
		c.want("SELECT count(*) FROM t INDEXED BY te WHERE extra = 5", "2000")
		pages := w.run("PRAGMA page_count")
		w.runAll("DELETE FROM t WHERE v > 10", "VACUUM")
		w.sync()
		if got := w.run("PRAGMA page_count"); got == pages {
			e.Errorf("the database has %s pages as before", got)
		}
		c.eventually("PRAGMA page_count", w.run("PRAGMA page_count"))
		c.want("SELECT count(*) FROM t", "10")
		c.check()
		w.run("DROP TABLE t")
		w.sync()
		c.eventually("SELECT count(*) FROM sqlite_schema", "0")
		c.fails(codeError, "no such table", "SELECT * FROM t")
	}},
}
