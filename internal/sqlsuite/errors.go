package sqlsuite

import (
	"path/filepath"
	"strings"
)

var errorCases = []testCase{
	{name: "statements", near: true, run: func(e *env) {
		p, other, r := e.newPair()
		p.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE NOT NULL CHECK (v <> 'bad'))", "INSERT INTO t VALUES (1, 'one')", "CREATE TABLE strict (x REFERENCES t)", "PRAGMA foreign_keys = on")
		p.exec("PRAGMA no_such_pragma", "PRAGMA no_such_pragma = 1")
		for _, query := range []string{
			"SELEC 1", "SELECT * FROM nowhere", "SELECT nothing FROM t", "SELECT no_function()", "CREATE TABLE t (x)", "ATTACH", "RELEASE nothing", "ROLLBACK TO nothing", "COMMIT",
			"INSERT INTO t VALUES (1, 'two')", "INSERT INTO t VALUES (2, 'one')", "INSERT INTO t VALUES (2, NULL)", "INSERT INTO t VALUES (2, 'bad')", "INSERT INTO t VALUES ('x', 'two')",
			"INSERT INTO strict VALUES (5)", "UPDATE t SET id = 'x'", "SELECT zeroblob(3000000000)", "SELECT json('{')", "SELECT abs(-9223372036854775808)", "PRAGMA integrity_check(nowhere)",
			"DETACH nothing", "DETACH main", "VACUUM nothing",
		} {
			p.compare(query)
			p.sameAs(other)
			p.exec("UPDATE t SET v = v || '.'") // the connection works
		}
		p.finish(r)
	}},

	{name: "writes to a replica that is open for reading", near: true, run: func(e *env) {
		r, p, _ := e.filled()
		in := e.start()
		for _, params := range [][]string{nil, {"mode=rw"}, {"mode=ro"}, {"immutable=1"}} {
			c := in.reader(r, params...)
			for _, query := range []string{
				"INSERT INTO item (name) VALUES ('x')", "UPDATE item SET price = 1", "DELETE FROM item", "CREATE TABLE x (y)", "CREATE INDEX x ON item (data)", "DROP TABLE item",
				"PRAGMA user_version = 8", "VACUUM", "REINDEX", "ALTER TABLE item ADD COLUMN x",
			} {
				c.fails(codeReadOnly, "attempt to write a readonly database", query)
			}
			c.run("BEGIN")
			c.fails(codeReadOnly, "", "INSERT INTO item (name) VALUES ('x')")
			c.want("SELECT count(*) FROM item", "169")
			c.run("COMMIT")
			c.want("PRAGMA litestream_write_enabled", "0")
			p.sameAs(c)
		}
	}},

	{name: "opens", run: func(e *env) {
		in := e.start()
		blocker := filepath.Join(e.TempDir(), "file")
		in.connect(fileURI(blocker)).run("CREATE TABLE t (x)")
		r, _, _ := e.filled()
		for _, tt := range []struct{ uri, reason string }{
			{in.uri(e.replica(), "wait_for_replica=0"), "no"},
			{in.uri(e.replicaAt("gopher://host/path")), "gopher"},
			{in.uri(r, "cache_size=nonsense"), "cache_size"},
			{in.uri(r, "poll_idle_after=x"), "poll_idle_after"},
			{in.uri(r, "write_enabled=true", parameter("buffer_path", filepath.Join(blocker, "buffer"))), "buffer"},
			{in.uri(r, "cache=shared"), "shared cache"},
		} {
			c, err := in.tryConnect(tt.uri)
			if err == nil {
				_, err = c.try("SELECT * FROM sqlite_schema")
			}
			switch {
			case err == nil:
				e.Errorf("%s opens", tt.uri)
			case e.code(err) != codeCantOpen:
				e.Errorf("%s: error has code %d, want %d: %v", tt.uri, e.code(err), codeCantOpen, err)
			case e.binding.NoOpenReason == "" && !strings.Contains(err.Error(), tt.reason):
				e.Errorf("%s: error is %v, want %s", tt.uri, err, tt.reason)
			}
		}
		c := in.reader(r)
		c.want("SELECT count(*) FROM item", "169")
		c.fails(codeCantOpen, "", "ATTACH ? AS x", in.uri(e.replica(), "wait_for_replica=0"))
		c.fails(codeCantOpen, "", "ATTACH ? AS x", in.uri(r, "cache_size=1MiB")) // it is open with another size
		c.want("SELECT count(*) FROM item", "169")
	}},

	{name: "WAL mode", run: func(e *env) {
		p, other, r := e.newPair()
		p.exec("CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
		c := p.replica
		c.want("PRAGMA journal_mode = wal", "delete")
		c.want("PRAGMA journal_mode = persist", "persist")
		c.want("PRAGMA journal_mode = wal", "persist")
		c.run("PRAGMA journal_mode = delete")
		c.run("PRAGMA locking_mode = exclusive")
		p.exec("INSERT INTO t VALUES (2)")
		if got, err := c.try("PRAGMA journal_mode = wal"); err == nil && got == "wal" {
			e.Error("WAL mode is possible with locking_mode=EXCLUSIVE")
		}
		p.exec("INSERT INTO t VALUES (3)")
		c.runAll("PRAGMA locking_mode = normal", "SELECT * FROM t")
		p.sameAs(other)
		other.run("INSERT INTO t VALUES (4)")
		p.plain.run("INSERT INTO t VALUES (4)")
		p.finish(r)
		e.start().reader(r).want("PRAGMA journal_mode = wal", "delete")
	}},

	{name: "WAL mode beside a local file", run: func(e *env) {
		for _, pragma := range []string{"PRAGMA r.journal_mode = wal", "PRAGMA journal_mode = wal"} {
			in, r := e.start(), e.replica()
			c := in.plain()
			c.run("PRAGMA locking_mode = exclusive") // WAL mode then needs no shared memory
			c.run("ATTACH ? AS r", in.uri(r, writing...))
			c.runAll("CREATE TABLE main.t (v)", "CREATE TABLE r.t (v)", "INSERT INTO r.t VALUES (1)")
			if _, err := c.try(pragma); err == nil {
				e.Errorf("%s succeeds", pragma)
			}
			c.runAll("INSERT INTO r.t VALUES (2)", "BEGIN", "INSERT INTO r.t VALUES (3)", "INSERT INTO main.t VALUES (3)", "ROLLBACK",
				"BEGIN", "INSERT INTO r.t VALUES (4)", "INSERT INTO main.t VALUES (4)", "COMMIT", "PRAGMA r.litestream_sync")
			c.want("SELECT (SELECT group_concat(v) FROM main.t), (SELECT group_concat(v) FROM r.t)", "4|1,2,4")
			fresh := e.start().reader(r)
			fresh.want("SELECT group_concat(v) FROM t", "1,2,4")
			fresh.check()
		}
	}},

	{name: "two writers", run: func(e *env) {
		r := e.replica()
		winner := e.start().writer(r)
		winner.run("CREATE TABLE t (v)")
		winner.sync()
		loser := e.start().writer(r, parameter("buffer_path", filepath.Join(e.TempDir(), "buffer")))
		loser.run("INSERT INTO t VALUES ('lost')")
		winner.run("INSERT INTO t VALUES ('won')")
		winner.sync()
		loser.fails(codeReadOnly, "", "PRAGMA litestream_sync")
		loser.eventually("SELECT group_concat(v) FROM t", "won")
		loser.want("PRAGMA litestream_write_enabled", "0")
		loser.fails(codeReadOnly, "", "INSERT INTO t VALUES ('more')")
		loser.run("PRAGMA litestream_write_enabled = 1")
		loser.run("INSERT INTO t VALUES ('again')")
		loser.sync()
		e.start().reader(r).want("SELECT group_concat(v) FROM t", "won,again")
	}},

	{name: "write mode is turned on and off", run: func(e *env) {
		in := e.start()
		r, p, _ := e.filled()
		p.replica.close()
		rw, other := in.reader(r, "mode=rw", "sync_interval=-1s"), in.reader(r, "sync_interval=-1s")
		rw.want("PRAGMA litestream_write_enabled", "0")
		rw.fails(codeReadOnly, "", "DELETE FROM tag")
		other.fails(codeReadOnly, "", "PRAGMA litestream_write_enabled = 1") // SQLite takes it for read-only
		rw.fails(codeError, "", "PRAGMA litestream_write_enabled = maybe")
		rw.run("PRAGMA litestream_write_enabled = 1")
		other.want("PRAGMA litestream_write_enabled", "1")
		p.replica = rw
		p.exec("BEGIN", "DELETE FROM tag WHERE item % 3 = 1")
		rw.fails(codeError, "", "PRAGMA litestream_write_enabled = 0")
		p.exec("COMMIT")
		p.sameAs(other)
		rw.run("PRAGMA litestream_write_enabled = off")
		rw.fails(codeReadOnly, "", "DELETE FROM tag")
		p.sameAs(e.start().reader(r))
	}},
}
