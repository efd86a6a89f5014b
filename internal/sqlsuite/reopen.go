package sqlsuite

import (
	"fmt"
	"path/filepath"
)

var reopenCases = []testCase{
	{name: "again and again", run: func(e *env) {
		in, r := e.start(), e.replica()
		buffer := parameter("buffer_path", filepath.Join(e.TempDir(), "buffer"))
		plain := in.plain()
		for i, params := range [][]string{nil, {buffer}, {buffer}, nil, {buffer, "sync_on_commit=true"}, {buffer, "cache_size=-1"}} {
			if i%2 == 1 {
				in = e.start()
			}
			p := pair{e, in.writer(r, params...), plain}
			if i == 0 {
				p.make(contentFor(plain))
			}
			p.same()
			p.exec(fmt.Sprintf("CREATE TABLE extra%d AS SELECT id, data FROM item WHERE id %% 6 = %d", i, i), fmt.Sprintf("UPDATE item SET price = %d WHERE id %% 5 = %d", i, i))
			if i%3 == 1 {
				p.replica.sync()
				p.exec("DELETE FROM tag WHERE item < 30")
			}
			// A transaction that is open is rolled back by the close.
			p.replica.runAll("BEGIN", "DELETE FROM item", "CREATE TABLE never (x)")
			p.replica.close()
			p.sameAs(e.start().reader(r))
		}
		fresh := e.start().reader(r)
		fresh.check()
	}},

	{name: "page sizes", once: true, near: true, run: func(e *env) {
		for _, size := range []int{512, 65536} {
			p, other, r := e.newPair()
			p.exec(fmt.Sprintf("PRAGMA page_size = %d", size))
			p.make(contentFor(p.plain))
			p.exec("PRAGMA page_size", "PRAGMA page_count")
			p.sameAs(other)
			p.finish(r)
		}
	}},

	{name: "a new database", run: func(e *env) {
		in, r := e.start(), e.replica()
		w := in.writer(r)
		w.want("SELECT count(*) FROM sqlite_schema", "0")
		w.want("PRAGMA page_count", "0")
		w.runAll("BEGIN", "CREATE TABLE t (v)", "ROLLBACK")
		w.want("SELECT count(*) FROM sqlite_schema", "0")
		w.run("CREATE TABLE t (v)")
		in.writer(r).want("SELECT count(*) FROM t", "0")
		w.want("PRAGMA litestream_sync", "0000000000000001")
		w.run("INSERT INTO t VALUES (1)")
		w.want("PRAGMA litestream_sync", "0000000000000002")
		e.start().reader(r).want("SELECT v FROM t", "1")
	}},
}
