package sqlsuite

import (
	"path/filepath"
)

var attachCases = []testCase{
	{name: "two replicas", run: func(e *env) {
		in, a, b := e.start(), e.replica(), e.replica()
		c := in.writer(a)
		c.run("ATTACH ? AS b", in.uri(b, writing...))
		c.runAll("CREATE TABLE main.t (v UNIQUE)", "CREATE TABLE b.t (v UNIQUE)")
		both := func(q *conn, want string) {
			e.Helper()
			q.want("SELECT (SELECT group_concat(v) FROM (SELECT v FROM main.t ORDER BY v)), (SELECT group_concat(v) FROM (SELECT v FROM b.t ORDER BY v))", want)
		}
		for _, journal := range []string{"delete", "truncate", "persist", "memory"} {
			for _, locking := range []string{"normal", "exclusive"} {
				c.runAll("PRAGMA journal_mode = "+journal, "PRAGMA locking_mode = "+locking, "DELETE FROM main.t", "DELETE FROM b.t")
				c.runAll("BEGIN", "INSERT INTO main.t VALUES (1)", "INSERT INTO b.t VALUES (2)", "COMMIT")
				both(c, "1|2")
				c.runAll("BEGIN", "INSERT INTO main.t VALUES (3)", "INSERT INTO b.t VALUES (4)", "ROLLBACK")
				both(c, "1|2")
				c.runAll("BEGIN", "INSERT INTO main.t VALUES (5)", "SAVEPOINT s", "INSERT INTO b.t VALUES (6)", "ROLLBACK TO s", "INSERT INTO b.t VALUES (7)")
				c.fails(codeConstraint, "UNIQUE", "INSERT INTO b.t VALUES (8), (2)")
				c.runAll("COMMIT", "INSERT INTO b.t SELECT v + 100 FROM main.t")
				both(c, "1,5|2,7,101,105")
				c.runAll("PRAGMA locking_mode = normal", "SELECT * FROM main.t", "SELECT * FROM b.t")
			}
		}
		c.want("SELECT main.t.v FROM main.t JOIN b.t ON b.t.v = main.t.v + 100 ORDER BY 1", "1\n5")
		c.runAll("PRAGMA main.litestream_sync", "PRAGMA b.litestream_sync", "PRAGMA main.integrity_check", "PRAGMA b.integrity_check")
		fresh := e.start()
		reader := fresh.reader(a)
		reader.run("ATTACH ? AS b", fresh.uri(b))
		both(reader, "1,5|2,7,101,105")
		c.run("DETACH b")
		c.want("SELECT count(*) FROM t", "2")
		c.fails(codeError, "no such table", "SELECT * FROM b.t")
	}},

	{name: "a replica and a local file", run: func(e *env) {
		in, r := e.start(), e.replica()
		c := in.writer(r)
		path := filepath.Join(e.TempDir(), "local.db")
		c.run("ATTACH ? AS l", path)
		c.runAll("CREATE TABLE main.t (v)", numbers("200")+"INSERT INTO main.t SELECT i FROM n", "CREATE TABLE l.t (v)")
		c.runAll("INSERT INTO l.t SELECT v * 10 FROM main.t WHERE v < 4", "BEGIN", "INSERT INTO l.t VALUES (40)", "COMMIT", "BEGIN", "INSERT INTO l.t VALUES (50)", "ROLLBACK")
		c.want("SELECT group_concat(v) FROM l.t", "10,20,30,40")
		c.want("SELECT count(*) FROM main.t JOIN l.t ON l.t.v = main.t.v", "4")
		c.run("BEGIN")
		c.want("SELECT count(*) FROM main.t", "200")
		c.runAll("INSERT INTO l.t VALUES (60)", "COMMIT", "INSERT INTO main.t SELECT v FROM l.t", "PRAGMA l.integrity_check")
		c.want("SELECT count(*) FROM main.t", "205")

		// A transaction that writes to both commits to both, or to none with an
		// error.
		c.runAll("BEGIN", "INSERT INTO main.t VALUES (-1)", "INSERT INTO l.t VALUES (-1)")
		want := "1|1"
		if _, err := c.try("COMMIT"); err != nil {
			want = "0|0"
			_, _ = c.try("ROLLBACK")
		}
		c.want("SELECT (SELECT count(*) FROM main.t WHERE v < 0), (SELECT count(*) FROM l.t WHERE v < 0)", want)
		c.runAll("INSERT INTO main.t VALUES (300)", "INSERT INTO l.t VALUES (300)", "PRAGMA main.litestream_sync")
		plain := in.connect(fileURI(path))
		plain.want("SELECT count(*) FROM t WHERE v > 0", "6")
		plain.check()
		e.start().reader(r).want("SELECT count(*) FROM t WHERE v > 0", "206")
	}},

	{name: "a local file and a replica", run: func(e *env) {
		in, r := e.start(), e.replica()
		c := in.plain()
		c.run("ATTACH ? AS r", in.uri(r, writing...))
		c.runAll("CREATE TABLE main.t (v)", "CREATE TABLE r.t (v)", "BEGIN", "INSERT INTO main.t VALUES (1)", "INSERT INTO r.t VALUES (2)", "COMMIT",
			"BEGIN", "INSERT INTO main.t VALUES (3)", "INSERT INTO r.t VALUES (4)", "ROLLBACK", "INSERT INTO r.t SELECT v + 4 FROM main.t")
		c.want("SELECT (SELECT group_concat(v) FROM main.t), (SELECT group_concat(v) FROM r.t)", "1|2,5")
		c.run("PRAGMA r.litestream_sync")
		e.start().reader(r).want("SELECT group_concat(v) FROM t", "2,5")
	}},

	{name: "a local file in WAL mode", near: true, skip: func(b Binding) string { return b.NoLocalWAL }, run: func(e *env) {
		in, r := e.start(), e.replica()
		path := filepath.Join(e.TempDir(), "local.db")
		other := in.connect(fileURI(path))
		other.want("PRAGMA journal_mode = wal", "wal")
		other.runAll("CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		c := in.writer(r)
		c.run("ATTACH ? AS l", path)
		c.want("PRAGMA l.journal_mode", "wal")
		c.runAll("CREATE TABLE main.t AS SELECT v FROM l.t", "BEGIN", "INSERT INTO l.t VALUES (2)")
		other.want("SELECT count(*) FROM t", "1")
		c.run("COMMIT")
		other.want("SELECT count(*) FROM t", "2")
		other.run("INSERT INTO t VALUES (3)")
		c.want("SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM l.t)", "1|3")
		c.want("PRAGMA main.journal_mode = wal", "delete")
		c.want("PRAGMA l.integrity_check", "ok")
	}},

	{name: "databases in memory and temporary ones", near: true, run: func(e *env) {
		r, p, _ := e.filled()
		p.replica.close()
		p.replica = e.start().reader(r)
		p.compare("ATTACH ':memory:' AS m", "CREATE TABLE m.x AS SELECT * FROM item", "SELECT count(*), sum(cents) FROM m.x", "PRAGMA m.integrity_check",
			"ATTACH '' AS n", "CREATE TABLE n.x AS SELECT * FROM item", "INSERT INTO n.x SELECT * FROM m.x", "SELECT count(*), sum(cents) FROM n.x",
			"PRAGMA n.integrity_check", "BEGIN", "DELETE FROM n.x", "DELETE FROM m.x", "ROLLBACK", "SELECT count(*) FROM n.x, (SELECT count(*) FROM m.x)",
			"DETACH m", "DETACH n", "SELECT * FROM m.x")
	}},
}
