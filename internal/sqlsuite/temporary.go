package sqlsuite

// sortable is a table whose sorting does not fit memory that is as little as the
// cases allow it.
var sortable = []string{
	"CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b TEXT)",
	numbers("6500") + "INSERT INTO t SELECT i, i * 7919 % 20011, hex(zeroblob(90)) || i FROM n",
}

// little makes SQLite use files as early as possible.
var little = []string{"PRAGMA cache_size = 10", "PRAGMA temp_store = file", "PRAGMA temp.cache_size = 10"}

var temporaryCases = []testCase{
	{name: "big sorts", once: true, near: true, run: func(e *env) {
		p, other, r := e.newPair()
		p.exec(sortable...)
		p.replica.sync()
		p.replica = e.start().reader(r)
		p.exec(little...)
		p.exec(
			"SELECT sum(k * a) FROM (SELECT row_number() OVER (ORDER BY b, a) AS k, a FROM t)",
			"SELECT a % 10, count(*), max(b) FROM t GROUP BY a % 10, b LIKE '%7' ORDER BY 1, 2 DESC",
			"SELECT sum(x.a * y.a) FROM t x JOIN (SELECT a, b FROM t ORDER BY b DESC LIMIT 3000) y ON y.b = x.b",
		)
		p.replica = other
		p.exec(little...)
		p.exec("CREATE INDEX tb ON t (b, a)", "SELECT group_concat(a) FROM (SELECT a FROM t INDEXED BY tb ORDER BY b LIMIT 100 OFFSET 3000)", "REINDEX")
		p.exec("CREATE TABLE copy AS SELECT a, b FROM t ORDER BY b DESC", "ANALYZE", "PRAGMA integrity_check")
		p.finish(r)
	}},

	{name: "temporary tables", once: true, near: true, run: func(e *env) {
		r, p, _ := e.filled()
		for _, c := range []*conn{p.replica, e.start().reader(r)} {
			p.replica, p.plain = c, p.plain.another()
			p.exec(little...)
			p.compare(
				"CREATE TEMP TABLE tt AS SELECT id, name FROM item", "CREATE INDEX temp.ti ON tt (name)", "UPDATE tt SET name = name || id WHERE id < 50",
				"BEGIN", "DELETE FROM tt WHERE id > 20", "SAVEPOINT s", "DELETE FROM tt", "ROLLBACK TO s", "SELECT count(*), max(name) FROM tt", "ROLLBACK",
				"SELECT count(*), max(name) FROM tt", "SELECT i.name FROM item i JOIN tt ON tt.id = i.id AND tt.name <> i.name ORDER BY 1",
				"CREATE TEMP TABLE big (v)", numbers("300")+"INSERT INTO big SELECT hex(zeroblob(2000)) || i FROM n", "CREATE INDEX temp.bv ON big (v)",
				"UPDATE big SET v = v || 'x' WHERE rowid % 2", "SELECT count(DISTINCT v), sum(length(v)) FROM big",
				"CREATE TEMP TRIGGER ttt BEFORE DELETE ON tt BEGIN SELECT raise(ABORT, 'no'); END", "DELETE FROM tt", "PRAGMA temp.integrity_check",
				"DROP TABLE tt", "CREATE TEMP TABLE tt (x)", "CREATE TEMP VIEW tv AS SELECT * FROM main.dear", "SELECT count(*) FROM tv",
			)
			p.same()
		}
	}},
}
