package sqlsuite

import (
	"fmt"
	"strings"
)

// noChanges is the reason why a binding skips the cases of litestream_changes.
func noChanges(b Binding) string { return b.NoChanges }

// shop is a replica with two transactions that differ in each way that tables and
// rows can.
type shop struct {
	r             replica
	w             *conn
	before, after string // transactions
}

func (e *env) shop() *shop {
	e.Helper()
	s := &shop{r: e.replica()}
	s.w = e.start().writer(s.r)
	s.w.runAll("BEGIN",
		"CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL, data BLOB)",
		"CREATE TABLE stock (place TEXT, item INTEGER, n, PRIMARY KEY (place, item)) WITHOUT ROWID",
		"CREATE TABLE gone (x)",
		"INSERT INTO items VALUES (1, 'one', 1, NULL), (2, 'two', 2.5, x'000102'), (3, 'three', 3, NULL)",
		"INSERT INTO stock VALUES ('attic', 1, 'many'), ('cellar', 2, NULL)",
		"INSERT INTO gone VALUES ('left')",
		"COMMIT")
	s.before = s.w.sync()
	s.w.runAll("BEGIN",
		"UPDATE items SET name = 'TWO' WHERE id = 2",
		"DELETE FROM items WHERE id = 3",
		"INSERT INTO items VALUES (4, 'four', 12, x'')",
		"UPDATE stock SET n = 9007199254740993 WHERE item = 1",
		"DROP TABLE gone",
		"CREATE TABLE fresh (y)",
		"INSERT INTO fresh VALUES ('it''s')",
		"COMMIT")
	s.after = s.w.sync()
	return s
}

// allChanges are the rows of litestream_changes that lead from before to after.
var allChanges = strings.Join([]string{
	`update|items|2|NULL|{"id": 2, "name": "two", "price": 2.5, "data": "AAEC"}|{"id": 2, "name": "TWO", "price": 2.5, "data": "AAEC"}|NULL|NULL`,
	`delete|items|3|NULL|{"id": 3, "name": "three", "price": 3.0, "data": null}|NULL|NULL|NULL`,
	`insert|items|4|NULL|NULL|{"id": 4, "name": "four", "price": 12.0, "data": ""}|NULL|NULL`,
	`update|stock|NULL|{"place": "attic", "item": 1}|{"place": "attic", "item": 1, "n": "many"}|{"place": "attic", "item": 1, "n": 9007199254740993}|NULL|NULL`,
	`table_created|fresh|NULL|NULL|NULL|NULL|NULL|CREATE TABLE fresh (y)`,
	`insert|fresh|1|NULL|NULL|{"y": "it's"}|NULL|NULL`,
	`delete|gone|1|NULL|{"x": "left"}|NULL|NULL|NULL`,
	`table_dropped|gone|NULL|NULL|NULL|NULL|CREATE TABLE gone (x)|NULL`,
}, "\n")

// byTable returns rows of allChanges in the order of their tables.
func byTable(rows string, tables ...string) string {
	var all []string
	for _, table := range tables {
		for row := range strings.SplitSeq(rows, "\n") {
			if strings.Contains(row, "|"+table+"|") {
				all = append(all, row)
			}
		}
	}
	return strings.Join(all, "\n")
}

var changesCases = []testCase{
	{name: "all tables", skip: noChanges, run: func(e *env) {
		s := e.shop()
		reader := e.start().reader(s.r)
		if e.hydrated {
			reader.complete()
		}
		want := byTable(allChanges, "fresh", "gone", "items", "stock")
		for _, c := range []*conn{reader, s.w} {
			for _, call := range []string{
				"litestream_changes(NULL, '" + s.before + "')",
				"litestream_changes(NULL, '" + s.before + "', NULL)",
				"litestream_changes(NULL, '" + s.before + "', 'latest')",
				"litestream_changes(NULL, '" + s.before + "', '" + s.after + "')",
				"litestream_changes WHERE \"from\" = '" + s.before + "'",
			} {
				c.want("SELECT * FROM "+call, want)
			}
			c.want("SELECT count(*) FROM litestream_changes(NULL, 'latest')", "0")
		}
	}},

	{name: "one table, or several", skip: noChanges, near: true, run: func(e *env) {
		s := e.shop()
		c := e.start().reader(s.r)
		c.want("SELECT * FROM litestream_changes('items', '"+s.before+"')", byTable(allChanges, "items"))
		c.want("SELECT * FROM litestream_changes('ITEMS', '"+s.before+"') WHERE kind = 'delete'", strings.Split(allChanges, "\n")[1])
		c.want("SELECT * FROM litestream_changes WHERE \"table\" IN ('stock', 'gone') AND \"from\" = '"+s.before+"' ORDER BY tbl_name", byTable(allChanges, "gone", "stock"))
		c.want("SELECT name, count(*) FROM (SELECT 'items' AS name UNION ALL SELECT 'fresh') AS l, litestream_changes(l.name, '"+s.before+"') GROUP BY 1", "fresh|2\nitems|3")
		c.want("SELECT name, count(*) FROM litestream_changes(l.name, '"+s.before+"'), (SELECT 'items' AS name UNION ALL SELECT 'fresh') AS l GROUP BY 1", "fresh|2\nitems|3")
		c.want("SELECT DISTINCT \"table\", \"from\", \"to\" FROM litestream_changes('items', ?, 'latest')", "items|"+s.before+"|latest", s.before)
		c.want("SELECT rowid, oid FROM litestream_changes('stock', '"+s.before+"')", "NULL|1") // oid is the number of the row
		c.want("SELECT count(*) FROM litestream_changes('items', '"+s.before+"') AS a, litestream_changes('items', '"+s.before+"') AS b", "9")
	}},

	{name: "values are those of SQL", skip: noChanges, near: true, once: true, run: func(e *env) {
		s := e.shop()
		c := e.start().reader(s.r)
		c.want("SELECT typeof(v), v / 5 FROM (SELECT json_extract(new, '$.price') AS v FROM litestream_changes('items', '"+s.before+"') WHERE kind = 'insert')", "real|2.4")
		c.want("SELECT json_extract(new, '$.n') FROM litestream_changes('stock', '"+s.before+"')", "9007199254740993")
		c.want("SELECT typeof(json_extract(old, '$.data')) FROM litestream_changes('items', '"+s.before+"') WHERE kind = 'delete'", "null")
		c.want("SELECT group_concat(typeof(rowid)), group_concat(typeof(key)) FROM litestream_changes(NULL, '"+s.before+"') WHERE kind = 'update'", "integer,null|null,text")
	}},

	{name: "back in time", skip: noChanges, run: func(e *env) {
		s := e.shop()
		c := e.start().reader(s.r)
		const query = "SELECT group_concat(kind || ' ' || rowid) FROM litestream_changes('items', "
		const forth, back = "update 2,delete 3,insert 4", "update 2,insert 3,delete 4"
		c.want(query+"'"+s.after+"', '"+s.before+"')", back)
		c.run("PRAGMA litestream_txid = '" + s.before + "'")
		c.want(query+"'"+s.after+"')", back)
		c.want(query+"'"+s.before+"')", "NULL")
		c.want(query+"'"+s.before+"', 'latest')", forth)
		c.want("PRAGMA litestream_txid", s.before)
		c.run("PRAGMA litestream_txid = latest")
		c.want(query+"'"+s.before+"')", forth)
	}},

	{name: "by time", skip: noChanges, near: true, run: func(e *env) {
		s := e.states(3)
		c := e.start().reader(s.r)
		for from := range s.times {
			var rows []string
			for i := from + 1; i < len(s.times); i++ {
				rows = append(rows, fmt.Sprint(i+1))
				c.want("SELECT rowid FROM litestream_changes('t', '"+s.times[from]+"', '"+s.times[i]+"')", strings.Join(rows, "\n"))
			}
		}
		c.want("SELECT count(*) FROM litestream_changes('t', '"+s.txids[0]+"', 'now')", "2")
		c.want("SELECT count(*) FROM litestream_changes('t', litestream_time(), litestream_txid())", "0")
	}},

	{name: "a transaction sees one state", skip: noChanges, near: true, run: func(e *env) {
		s := e.states(2)
		in := e.start()
		c, other := in.reader(s.r), in.reader(s.r)
		query := "SELECT count(*) FROM litestream_changes('t', '" + s.txids[0] + "')"
		c.run("BEGIN")
		c.want("SELECT count(*) FROM t", "2")
		s.add(e)
		other.follow(s.txids[2])
		other.want(query, "2")
		c.want(query, "1")
		c.run("COMMIT")
		c.follow(s.txids[2])
		c.want(query, "2")
	}},

	{name: "a statement that writes brings rows back", skip: noChanges, near: true, run: func(e *env) {
		s := e.shop()
		undo := func(kind, statement string) string {
			return fmt.Sprintf(statement, "litestream_changes('items', '"+s.before+"') WHERE kind = '"+kind+"'")
		}
		s.w.runAll("BEGIN IMMEDIATE",
			undo("insert", "DELETE FROM items WHERE id IN (SELECT rowid FROM %s)"),
			undo("delete", "INSERT INTO items SELECT rowid, json_extract(old, '$.name'), json_extract(old, '$.price'), NULL FROM %s"),
			undo("update", "UPDATE items SET name = (SELECT json_extract(old, '$.name') FROM %s AND rowid = items.id) WHERE id = 2"),
		)
		// Its own changes, and commits that are not uploaded, are in no transaction yet.
		query := "SELECT count(*) FROM litestream_changes('items', '" + s.before + "')"
		s.w.want(query, "3")
		s.w.run("COMMIT")
		s.w.want(query, "3")
		s.w.sync()
		s.w.want(query, "0")
		s.w.want("SELECT id, name, price, typeof(data) FROM items", "1|one|1|null\n2|two|2.5|blob\n3|three|3|null")
	}},

	{name: "many rows, and some of them", skip: noChanges, near: true, run: func(e *env) {
		r := e.replica()
		w := e.start().writer(r)
		w.run("CREATE TABLE big (id INTEGER PRIMARY KEY, pad)")
		const series = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000) "
		w.run(series + "INSERT INTO big SELECT n, hex(zeroblob(500)) FROM c")
		before := w.sync()
		w.run("UPDATE big SET pad = hex(randomblob(500))")
		w.sync()
		for _, c := range []*conn{e.start().reader(r), w} {
			changes := "litestream_changes('big', '" + before + "')"
			for range 3 { // each ends in the middle
				c.want("SELECT rowid FROM "+changes+" LIMIT 3", "1\n2\n3")
			}
			c.want("SELECT count(*), sum(rowid), sum(length(old)), sum(length(new)) FROM "+changes, "3000|4501500|3067893|3067893")
			c.want("SELECT count(*) FROM big WHERE id IN (SELECT rowid FROM "+changes+" WHERE rowid % 100 = 0)", "30")
			c.want("SELECT EXISTS (SELECT 1 FROM "+changes+")", "1")
			c.want("SELECT count(*) FROM big JOIN "+changes+" AS x ON x.rowid = big.id AND big.id % 2 = 0", "1500") // it is the outer loop
		}
	}},

	{name: "in a view", skip: noChanges, near: true, once: true, run: func(e *env) {
		s := e.shop()
		s.w.run("CREATE VIEW latest AS SELECT kind, rowid AS id FROM litestream_changes('items', '" + s.before + "', '" + s.after + "')")
		s.w.want("SELECT group_concat(kind || ' ' || id) FROM latest", "update 2,delete 3,insert 4")
		s.w.run("PRAGMA trusted_schema = OFF")
		s.w.fails(codeError, "unsafe use of virtual table", "SELECT * FROM latest")
		s.w.want("SELECT count(*) FROM litestream_changes('items', '"+s.before+"')", "3")
	}},

	{name: "its errors have texts", skip: noChanges, near: true, once: true, run: func(e *env) {
		s := e.shop()
		c := e.start().reader(s.r)
		for _, tt := range []struct{ call, text string }{
			{"litestream_changes", "the second argument"},
			{"litestream_changes('items')", "the second argument"},
			{"litestream_changes('items', NULL)", "the second argument"},
			{"litestream_changes('nothing', '" + s.before + "')", "no such table: nothing"},
			{"litestream_changes('', '" + s.before + "')", "no such table"},
			{"litestream_changes('items', 'nonsense')", `"nonsense" is neither a transaction of 16 hex digits nor a time`},
			{"litestream_changes('items', '')", `"" is neither`},
			{"litestream_changes('items', 1)", `"1" is neither`},
			{"litestream_changes('items', '" + s.before + "', 'it''s')", `"it's" is neither`},
			{"litestream_changes('items', '0000000000000000')", "is neither"},
			{"litestream_changes('items', '00000000000000ff')", "transaction not available"},
			{"litestream_changes('items', '2001-01-01')", "transaction not available"},
			{"litestream_changes('items', '" + s.before + "', '00000000000000ff')", "transaction not available"},
			{"litestream_changes('items', '" + s.before + "', '" + s.after + "', 1)", "too many arguments"},
		} {
			c.fails(codeError, tt.text, "SELECT * FROM "+tt.call)
			c.want("SELECT count(*) FROM litestream_changes('items', '"+s.before+"')", "3")
		}
		c.fails(codeError, "may not be modified", "DELETE FROM litestream_changes")
		if got := c.status().LastError; got == nil || got.Op != "changes" || !strings.Contains(got.Text, "litestream_changes: ") {
			e.Errorf("the last error is %+v", got)
		}
	}},

	{name: "it concerns the main database", skip: noChanges, near: true, once: true, run: func(e *env) {
		s := e.shop()
		in := e.start()
		c := in.plain()
		c.run("ATTACH ? AS r", in.uri(s.r))
		reason := "the main database is not served by litestream"
		if e.binding.NoPlainFunctions != "" {
			reason = "no such table"
		}
		c.fails(codeError, reason, "SELECT * FROM litestream_changes(NULL, 'latest')")
		c.want("SELECT count(*) FROM r.items", "3")
	}},
}
