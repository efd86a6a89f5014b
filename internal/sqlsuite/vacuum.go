package sqlsuite

import (
	"path/filepath"
)

var vacuumCases = []testCase{
	{name: "VACUUM", run: func(e *env) {
		p, other, r := e.newPair()
		p.make(contentFor(p.plain))
		for _, journal := range []string{"delete", "truncate", "persist", "memory", "off"} {
			p.exec("PRAGMA journal_mode = "+journal, "DELETE FROM long WHERE k = (SELECT max(k) FROM long)", "DELETE FROM item WHERE id % 3 = 1",
				numbers("100")+"INSERT INTO long SELECT NULL, hex(zeroblob(600)) FROM n", "DELETE FROM long WHERE k % 7", "PRAGMA freelist_count",
				"VACUUM", "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA integrity_check")
			p.sameAs(other)
		}
		p.exec("DELETE FROM long", "VACUUM")
		p.compare("BEGIN", "VACUUM", "COMMIT") // it cannot run in a transaction
		p.exec("PRAGMA page_count")
		p.finish(r)
	}},

	{name: "VACUUM keeps the page size", near: true, run: func(e *env) {
		in, r := e.start(), e.replica()
		w := in.writer(r)
		w.runAll("PRAGMA page_size = 1024", "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		w.want("PRAGMA page_size", "1024")
		w.sync()
		w.run("PRAGMA page_size = 8192")
		_, _ = w.try("VACUUM") // an error, or the page size stays
		other := in.writer(r)
		other.want("PRAGMA page_size", "1024")
		other.want("SELECT v FROM t", "1")
		other.run("INSERT INTO t VALUES (2)")
		other.check()
		other.sync()
		e.start().reader(r).want("SELECT group_concat(v) FROM t", "1,2")
	}},

	{name: "VACUUM INTO a local file", run: func(e *env) {
		r, p, _ := e.filled()
		in := e.start()
		for _, source := range []*conn{p.replica, in.reader(r)} {
			path := filepath.Join(e.TempDir(), "copy.db")
			source.run("VACUUM INTO ?", path)
			local := in.connect(fileURI(path))
			p.sameAs(local)
			local.check()
			local.want("PRAGMA page_size", "4096")
			local.run("INSERT INTO item (name) VALUES ('mine')")
			source.fails(codeError, "output file already exists", "VACUUM INTO ?", path)
			source.fails(codeCantOpen, "", "VACUUM INTO ?", filepath.Join(e.TempDir(), "no", "folder.db"))
			p.sameAs(source)
		}
	}},

	{name: "VACUUM INTO a replica", run: func(e *env) {
		r, p, _ := e.filled()
		in, to := e.start(), e.replica()
		c := in.reader(r)
		c.run("VACUUM INTO ?", in.uri(to, writing...))
		fresh := e.start().reader(to)
		p.sameAs(fresh)
		fresh.check()
	}},

	{name: "auto_vacuum", near: true, run: func(e *env) {
		for _, mode := range []string{"full", "incremental"} {
			p, other, r := e.newPair()
			p.exec("PRAGMA auto_vacuum = "+mode, "CREATE TABLE t (id INTEGER PRIMARY KEY, v)", "PRAGMA auto_vacuum",
				numbers("300")+"INSERT INTO t SELECT i, zeroblob(2000 + i % 9 * 1000) FROM n", "CREATE INDEX tv ON t (length(v))", "PRAGMA page_count",
				"DELETE FROM t WHERE id % 3", "PRAGMA freelist_count", "PRAGMA page_count")
			p.replica.sync()
			p.exec("PRAGMA incremental_vacuum(7)", "PRAGMA freelist_count", "PRAGMA page_count")
			p.sameAs(other)
			p.exec("BEGIN", "DELETE FROM t WHERE id > 100", "PRAGMA incremental_vacuum", "ROLLBACK", "PRAGMA page_count", "BEGIN", "DELETE FROM t WHERE id > 50",
				"PRAGMA incremental_vacuum", "COMMIT", "PRAGMA incremental_vacuum", "PRAGMA page_count", "PRAGMA freelist_count")
			other.want("PRAGMA page_count", p.plain.run("PRAGMA page_count"))
			p.finish(r)
		}
	}},
}
