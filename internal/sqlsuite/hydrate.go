package sqlsuite

import (
	"fmt"
	"path/filepath"
)

var hydrateCases = []testCase{
	{name: "the copy has the same rows", once: true, run: func(e *env) {
		r, p, content := e.filled()
		in := e.start()
		path := filepath.Join(e.TempDir(), "copy.db")
		params := []string{"hydration_enabled=true", parameter("hydration_path", path), "cache_size=-1"}
		p.replica = in.reader(r, params...)
		p.compare(content.queries...) // while the copy is made
		p.replica.complete()
		p.replica.want("PRAGMA litestream_hydration_file", valueText(path))

		// Every page comes from the local file.
		before := p.replica.status()
		p.replica = in.reader(r, params...)
		p.compare(content.queries...)
		after := p.replica.status()
		if after.LocalHits == before.LocalHits || after.PageReads != before.PageReads {
			e.Errorf("with the copy, %d pages came from it and %d requests were made", after.LocalHits-before.LocalHits, after.PageReads-before.PageReads)
		}
	}},

	{name: "the copy follows", once: true, run: func(e *env) {
		r, p, _ := e.filled()
		c := e.start().reader(r, "hydration_enabled=true", "cache_size=-1")
		c.complete()
		for i := range 3 {
			p.exec("UPDATE item SET price = price * 2 WHERE id % 3 = 1", "DELETE FROM long WHERE k = (SELECT min(k) FROM long)",
				fmt.Sprintf("INSERT INTO item (name, data) SELECT 'new ' || %d || name, zeroblob(300) FROM item WHERE id %% 9 = 2", i))
			c.follow(p.replica.sync())
			c.complete()
			p.sameAs(c)
		}
		p.exec("DELETE FROM item WHERE id > 20", "VACUUM")
		c.follow(p.replica.sync())
		c.complete()
		p.sameAs(c)
		c.check()
	}},

	{name: "the past and the copy do not disturb each other", once: true, run: func(e *env) {
		s := e.states(4)
		in := e.start()
		c, present := in.reader(s.r, "hydration_enabled=true", "cache_size=-1"), in.reader(s.r, "hydration_enabled=true", "cache_size=-1")
		c.run("PRAGMA litestream_txid = '" + s.txids[1] + "'")
		s.wantAt(c, "main", 1)
		present.complete()
		s.wantAt(c, "main", 1)
		s.wantAt(present, "main", 3)
		s.add(e)
		present.follow(s.txids[4])
		present.complete()
		s.wantAt(c, "main", 1)
		s.wantAt(present, "main", 4)
		c.run("PRAGMA litestream_txid = latest")
		s.wantAt(c, "main", 4)
	}},

	{name: "the next process goes on with the copy", once: true, run: func(e *env) {
		r, p, content := e.filled()
		params := []string{"hydration_enabled=true", parameter("hydration_path", filepath.Join(e.TempDir(), "copy.db")), "cache_size=-1"}
		c := e.start().reader(r, params...)
		c.complete()
		c.close()
		p.exec("UPDATE item SET price = 0 WHERE id % 5 = 1")
		p.replica.sync()
		p.replica = e.start().reader(r, params...)
		p.compare(content.queries...)
		p.replica.complete()
		p.compare(content.queries...)
		p.same()
	}},

	{name: "without hydration there is no copy", once: true, run: func(e *env) {
		r, _, _ := e.filled()
		c := e.start().reader(r)
		c.want("PRAGMA litestream_hydration_status", "idle")
		c.want("PRAGMA litestream_hydration_progress", "0.0")
		c.want("PRAGMA litestream_hydration_file", "")
	}},

	{name: "a writer has a copy", once: true, run: func(e *env) {
		in, r := e.start(), e.replica()
		params := []string{"hydration_enabled=true", "cache_size=-1"}
		p := pair{e, in.writer(r, params...), in.plain()}
		p.make(contentFor(p.plain))
		p.same()
		p.replica.sync()
		p.replica.complete()
		p.same()
		p.exec("DELETE FROM tag WHERE item % 3 = 1", "UPDATE item SET data = zeroblob(100)")
		p.same()
		p.replica.sync()
		p.replica.complete()
		p.sameAs(in.writer(r, params...))
		p.replica.check()
	}},
}
