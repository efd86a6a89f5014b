package sqlsuite

import "fmt"

// writeCases has a case for each journal mode and locking mode.
func writeCases() (cases []testCase) {
	for _, journal := range []string{"delete", "truncate", "persist", "memory", "off"} {
		for _, locking := range []string{"normal", "exclusive"} {
			cases = append(cases, testCase{
				name: fmt.Sprintf("journal_mode=%s locking_mode=%s", journal, locking),
				near: journal != "delete" && locking == "exclusive",
				run:  func(e *env) { e.write(journal, locking) },
			})
		}
	}
	return cases
}

// write runs transactions with each setting of synchronous, on a replica and on a
// plain file. Another connection sees every commit. At the end a new process has
// all rows.
func (e *env) write(journal, locking string) {
	in, r := e.start(), e.replica()
	plain := in.plain()
	observer := in.writer(r)
	for _, synchronous := range []string{"off", "normal", "full", "extra"} {
		p := pair{e, in.writer(r), plain}
		p.exec("PRAGMA journal_mode = "+journal, "PRAGMA synchronous = "+synchronous, "PRAGMA locking_mode = "+locking)
		p.exec("PRAGMA journal_mode", "PRAGMA synchronous", "PRAGMA locking_mode")
		silent := locking == "exclusive" && synchronous == "off" && (journal == "memory" || journal == "off") && e.binding.NoSilentCommit != ""
		table := "t_" + synchronous
		visible := func() {
			e.Helper()
			if query := "SELECT * FROM " + table; !silent {
				observer.want(query, plain.run(query))
			}
		}

		p.exec(
			"CREATE TABLE "+table+" (id INTEGER PRIMARY KEY, a, b UNIQUE)",
			numbers("100")+"INSERT INTO "+table+" SELECT i, printf('%.*c', i % 90, 'x'), i * 3 FROM n",
		)
		visible()
		p.exec("BEGIN", "UPDATE "+table+" SET a = a || id WHERE id % 5 = 2", "DELETE FROM "+table+" WHERE id % 7 = 3", "INSERT INTO "+table+" VALUES (1000, 'new', 1)")
		if !silent && observer.run("SELECT count(*) FROM "+table) != "100" {
			e.Errorf("synchronous=%s: a connection sees the open transaction of another one", synchronous)
		}
		p.exec("COMMIT")
		visible()
		if journal != "off" { // without a journal nothing can be rolled back
			p.exec("BEGIN IMMEDIATE", "DELETE FROM "+table, "CREATE TABLE never (x)", "ROLLBACK")
			p.compare("INSERT INTO " + table + " SELECT id + 5000, a, CASE id % 50 WHEN 49 THEN 1 ELSE b + 100000 END FROM " + table + " ORDER BY id")
			visible()
			p.exec("SELECT * FROM " + table)
		}

		// These transactions do not fit SQLite's page cache, so that pages are
		// written before the commit.
		p.exec("PRAGMA cache_size = 5")
		p.exec("BEGIN", "UPDATE "+table+" SET a = a || hex(zeroblob(100))", "INSERT INTO "+table+" VALUES (1001, zeroblob(50000), 2)", "COMMIT")
		visible()
		if journal != "off" {
			p.exec("BEGIN", "UPDATE "+table+" SET a = '', b = -b", "INSERT INTO "+table+" VALUES (1002, zeroblob(50000), 3)", "ROLLBACK")
			visible()
		}
		p.exec("BEGIN", "DELETE FROM "+table+" WHERE id % 2", "COMMIT")
		p.exec("PRAGMA locking_mode = normal", "SELECT count(*) FROM sqlite_schema") // gives the lock back
		p.sameAs(observer)
		p.replica.sync()
		p.replica.close()
	}
	p := pair{e, observer, plain}
	observer.check()
	p.sameAs(e.start().reader(r))

	// Whatever is committed later and never synced is uploaded by the close.
	p.exec("INSERT INTO t_full VALUES (7000, 'last', 7000)")
	p.replica.close()
	fresh := e.start().reader(r)
	p.sameAs(fresh)
	fresh.check()
}
