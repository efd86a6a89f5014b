package sqlsuite

import (
	"fmt"
	"sync"
)

// newPair returns a new replica in write mode with another connection to it, and a
// plain file.
func (e *env) newPair() (p pair, other *conn, r replica) {
	e.Helper()
	in := e.start()
	r = e.replica()
	return pair{e, in.writer(r), in.plain()}, in.writer(r), r
}

// finish syncs, and compares what a new process reads with the plain file.
func (p pair) finish(r replica) {
	p.e.Helper()
	p.same()
	p.replica.check()
	p.replica.sync()
	fresh := p.e.start().reader(r)
	p.sameAs(fresh)
	fresh.check()
}

var transactionCases = []testCase{
	{name: "savepoints", near: true, run: func(e *env) {
		p, other, r := e.newPair()
		for _, journal := range []string{"delete", "truncate", "persist", "memory"} {
			p.exec("PRAGMA journal_mode = "+journal, "DROP TABLE IF EXISTS t", "CREATE TABLE t (id INTEGER PRIMARY KEY, v UNIQUE)")
			for _, cache := range []string{"2000", "3"} {
				p.exec("PRAGMA cache_size = " + cache)
				p.exec("BEGIN", "INSERT INTO t VALUES (1, 'a')", "SAVEPOINT one", numbers("200")+"INSERT INTO t SELECT i + 10, printf('%0100d', i) FROM n",
					"SAVEPOINT two", "DELETE FROM t WHERE id % 2", "SELECT count(*) FROM t", "ROLLBACK TO two", "SELECT count(*) FROM t",
					"UPDATE t SET v = 'u' || v WHERE id % 3 = 0", "RELEASE two", "SAVEPOINT three", "CREATE TABLE never (x)", "DELETE FROM t", "ROLLBACK TO three", "RELEASE three")
				p.same()
				p.compare("INSERT INTO t SELECT id + 1000, CASE id WHEN 150 THEN 'a' ELSE 'c' || v END FROM t", "SELECT * FROM never", "ROLLBACK TO two")
				other.want("SELECT count(*) FROM t", "0")
				p.exec("COMMIT")
				p.sameAs(other)

				// The outermost savepoint is the transaction.
				p.exec("SAVEPOINT s", "DELETE FROM t WHERE id > 50", "ROLLBACK TO s", "SELECT count(*) FROM t", "INSERT INTO t VALUES (2, 'b')", "RELEASE s")
				p.sameAs(other)
				p.exec("SAVEPOINT s", "UPDATE t SET v = v || 'x'", "SAVEPOINT s", "UPDATE t SET v = v || 'y'", "RELEASE s", "ROLLBACK TO s", "RELEASE s")
				p.sameAs(other)
				p.exec("BEGIN", "SAVEPOINT s", "DELETE FROM t", "RELEASE s", "ROLLBACK")
				p.sameAs(other)
				p.exec("DELETE FROM t")
			}
		}
		p.finish(r)
	}},

	{name: "statements that fail are undone", near: true, run: func(e *env) {
		p, other, r := e.newPair()
		p.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT UNIQUE CHECK (v < 10000))", numbers("300")+"INSERT INTO t SELECT i, i FROM n")
		for _, begin := range []string{"", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"} {
			if begin != "" {
				p.exec(begin, "INSERT INTO t SELECT max(id) + 1, max(v) + 1 FROM t")
			}
			p.compare("UPDATE t SET v = v + 9800", "INSERT OR FAIL INTO t SELECT id + 1000, v + 300 - (id = 150) * 300 FROM t ORDER BY id",
				"DELETE FROM t WHERE id > 1000", "INSERT OR IGNORE INTO t SELECT id + 500, v FROM t", "INSERT OR REPLACE INTO t SELECT id + 600, v FROM t WHERE id < 5")
			if begin != "" {
				p.compare("INSERT OR ROLLBACK INTO t SELECT id + 2000, 1 FROM t", "COMMIT")
			}
			p.same()
			p.sameAs(other)
		}
		p.finish(r)
	}},

	{name: "empty transactions", run: func(e *env) {
		p, other, r := e.newPair()
		p.exec("BEGIN", "COMMIT", "BEGIN IMMEDIATE", "COMMIT", "BEGIN EXCLUSIVE", "ROLLBACK")
		p.exec("CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		p.exec("BEGIN IMMEDIATE", "SELECT * FROM t", "COMMIT", "BEGIN EXCLUSIVE", "COMMIT", "UPDATE t SET v = 2 WHERE v = 3", "DELETE FROM t WHERE v = 3")
		txid := p.replica.sync()
		p.exec("BEGIN IMMEDIATE", "COMMIT", "DELETE FROM t WHERE v = 3", "PRAGMA user_version", "BEGIN", "INSERT INTO t VALUES (2)", "ROLLBACK")
		for _, journal := range []string{"delete", "truncate", "persist", "memory"} { // and more than fits SQLite's page cache
			p.exec("PRAGMA journal_mode = "+journal, "PRAGMA cache_size = 5", "BEGIN", numbers("40")+"INSERT INTO t SELECT zeroblob(2000) FROM n", "ROLLBACK")
		}
		if got := p.replica.sync(); got != txid {
			e.Errorf("transactions without changes made transaction %s after %s", got, txid)
		}
		p.sameAs(other)
		p.finish(r)
	}},

	{name: "two connections", run: func(e *env) {
		p, other, r := e.newPair()
		p.exec("CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		p.exec("BEGIN IMMEDIATE", "INSERT INTO t VALUES (2)")
		other.fails(codeBusy, "database is locked", "INSERT INTO t VALUES (3)")
		other.fails(codeBusy, "database is locked", "BEGIN IMMEDIATE")
		other.fails(codeBusy, "database is locked", "CREATE TABLE u (v)")
		other.want("SELECT group_concat(v) FROM t", "1")
		p.exec("COMMIT")
		other.run("INSERT INTO t VALUES (3)")
		p.plain.run("INSERT INTO t VALUES (3)")
		p.same()

		// A transaction that has read an old state cannot write.
		other.run("BEGIN")
		other.want("SELECT count(*) FROM t", "3")
		p.exec("INSERT INTO t VALUES (4)")
		other.fails(codeBusy, "database is locked", "INSERT INTO t VALUES (5)")
		other.want("SELECT count(*) FROM t", "3")
		other.run("COMMIT")
		other.run("INSERT INTO t VALUES (5)")
		p.plain.run("INSERT INTO t VALUES (5)")
		p.same()

		// A lock that is held permanently keeps others from writing, not from
		// reading.
		p.exec("PRAGMA locking_mode = exclusive", "INSERT INTO t VALUES (6)")
		other.fails(codeBusy, "database is locked", "INSERT INTO t VALUES (7)")
		other.want("SELECT count(*) FROM t", "6")
		p.exec("PRAGMA locking_mode = normal", "SELECT count(*) FROM t")
		other.run("INSERT INTO t VALUES (7)")
		p.plain.run("INSERT INTO t VALUES (7)")
		p.finish(r)
	}},

	{name: "many connections", run: func(e *env) {
		const writers, readers, each = 4, 3, 15
		in, r := e.start(), e.replica()
		w := in.writer(r)
		w.runAll("CREATE TABLE counter (n)", "INSERT INTO counter VALUES (0)", "CREATE TABLE log (n INTEGER PRIMARY KEY, pad)")
		conns := make([]*conn, writers+readers)
		for i := range conns {
			conns[i] = in.writer(r)
			conns[i].run("PRAGMA busy_timeout = 30000")
		}
		var wg sync.WaitGroup
		for i, c := range conns {
			wg.Go(func() {
				for range each {
					if i < writers {
						for _, query := range []string{"BEGIN IMMEDIATE", "UPDATE counter SET n = n + 1", "INSERT INTO log SELECT n, zeroblob(n * 10) FROM counter", "COMMIT"} {
							if _, err := c.try(query); err != nil {
								e.Errorf("%s: %v", query, err)
								return
							}
						}
					}
					got, err := c.try("SELECT n - (SELECT count(*) FROM log), n * (n + 1) * 5 - (SELECT total(length(pad)) FROM log) FROM counter")
					if err != nil || got != "0|0" && got != "0|0.0" {
						e.Errorf("a reader sees half of a transaction: %s, %v", got, err)
						return
					}
				}
			})
		}
		wg.Wait()
		w.want("SELECT n FROM counter", fmt.Sprint(writers*each))
		w.check()
		w.sync()
		fresh := e.start().reader(r)
		fresh.want("SELECT count(*), max(n) FROM log", fmt.Sprintf("%d|%d", writers*each, writers*each))
		fresh.check()
	}},

	{name: "COMMIT waits for the upload if it is to", run: func(e *env) {
		in, r := e.start(), e.replica()
		w := in.writer(r, "sync_on_commit=true")
		w.runAll("CREATE TABLE t (v)", "INSERT INTO t VALUES (1)", "BEGIN", "INSERT INTO t VALUES (2)", "COMMIT")
		e.start().reader(r).want("SELECT group_concat(v) FROM t", "1,2")
	}},

	{name: "commits are uploaded in the background", run: func(e *env) {
		r := e.replica()
		w := e.start().connect(e.start().uri(r, "write_enabled=true", "sync_interval=5ms"))
		w.run("CREATE TABLE t (v)")
		w.sync()
		reader := e.start().reader(r)
		for i := range 3 {
			w.run("INSERT INTO t VALUES (?)", i)
			reader.eventually("SELECT count(*) FROM t", fmt.Sprint(i+1))
		}
	}},
}
