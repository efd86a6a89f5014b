package sqlsuite

import "strings"

// numbers is a common table expression n(i) with the numbers from 1.
func numbers(count string) string {
	return "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " + count + ") "
}

// schema has one of each kind of object that SQLite stores in its own way.
var schema = []string{
	"CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, price REAL, data BLOB, cents INT AS (price * 100) STORED)",
	"CREATE TABLE tag (item INT REFERENCES item, tag TEXT, weight, PRIMARY KEY (item, tag)) WITHOUT ROWID",
	"CREATE INDEX item_price ON item (price DESC) WHERE price > 10",
	"CREATE INDEX item_length ON item (length(data), name COLLATE NOCASE)",
	"CREATE VIEW dear AS SELECT id, name, price FROM item WHERE price > 90",
	"CREATE TRIGGER tagged AFTER INSERT ON item BEGIN INSERT INTO tag VALUES (new.id, 'new', new.price); END",
	"CREATE TABLE long (k INTEGER PRIMARY KEY, v)",
}

// rows fills the tables of schema. The values of long need overflow pages.
var rows = []string{
	numbers("200") + "INSERT INTO item (id, name, price, data) SELECT i, printf('item %04d', i * 7919 % 1000), i % 100 + 0.25, CAST(printf('%.*c', i % 50 * 3, char(65 + i % 26)) AS BLOB) FROM n",
	numbers("100") + "INSERT INTO tag SELECT i * 2, 'even', i % 7 FROM n",
	numbers("3000") + "INSERT INTO long SELECT 1, CAST(group_concat(printf('%05d', i * 7919 % 100003), '') AS BLOB) FROM n",
	numbers("9000") + "INSERT INTO long SELECT 2, group_concat(printf('%05d', i * 104729 % 100003), '-') FROM n",
	"INSERT INTO long VALUES (3, NULL), (4, x''), (5, ''), (6, 9223372036854775807), (7, -1.5e300), (8, zeroblob(20000)), (9, 'ä€𝄞')",
	"DELETE FROM item WHERE id BETWEEN 100 AND 130",
	"UPDATE item SET price = price + 1 WHERE id % 10 = 3",
	"PRAGMA user_version = 7",
}

// queries read the tables of schema in many ways.
var queries = []string{
	"PRAGMA page_size", "PRAGMA page_count", "PRAGMA freelist_count", "PRAGMA encoding", "PRAGMA user_version", "PRAGMA auto_vacuum",
	"SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema",
	"SELECT * FROM item WHERE id = 77", "SELECT * FROM item WHERE id = 120", "SELECT * FROM item WHERE name = 'item 0500'",
	"SELECT * FROM item", "SELECT id, cents FROM item WHERE id BETWEEN 90 AND 140 ORDER BY id DESC",
	"SELECT name, price FROM item INDEXED BY item_price WHERE price > 50 ORDER BY price DESC LIMIT 50",
	"SELECT name FROM item INDEXED BY item_length WHERE length(data) = 30 ORDER BY name COLLATE NOCASE",
	"SELECT count(*), sum(length(data)), total(price), max(name) FROM item",
	"SELECT tag, count(*), sum(price) FROM tag JOIN item ON item.id = tag.item GROUP BY tag ORDER BY tag",
	"SELECT a.id, b.id FROM item a JOIN item b ON b.id = a.id + 17 WHERE a.price > b.price ORDER BY 1 LIMIT 40",
	"SELECT item.id, tag.tag FROM item LEFT JOIN tag ON tag.item = item.id AND tag.tag = 'even' WHERE item.id < 20 ORDER BY 1",
	"SELECT * FROM tag WHERE item = 180", "SELECT * FROM tag ORDER BY weight, item, tag LIMIT 30 OFFSET 80",
	"SELECT * FROM dear ORDER BY name", "SELECT id FROM item WHERE id IN (SELECT item FROM tag WHERE weight = 3) ORDER BY id",
	"SELECT k, typeof(v), length(v), v FROM long", "SELECT substr(v, 40000, 20) FROM long WHERE k = 2", "SELECT hex(substr(v, -10)) FROM long WHERE k = 1",
	"SELECT id, sum(price) OVER (ORDER BY id ROWS 3 PRECEDING) FROM item ORDER BY id LIMIT 30",
	"WITH RECURSIVE f (a, b) AS (SELECT 0, 1 UNION ALL SELECT b, a + b FROM f LIMIT 50) SELECT max(a) FROM f",
	"SELECT DISTINCT length(data) FROM item ORDER BY 1", "SELECT id FROM item EXCEPT SELECT item FROM tag WHERE tag = 'even' ORDER BY 1 LIMIT 20",
	"PRAGMA table_xinfo(item)", "PRAGMA foreign_key_check", "PRAGMA integrity_check",
}

// modules are virtual tables that not every build of SQLite has.
var modules = []struct {
	name                  string
	schema, rows, queries []string
}{
	{
		"fts5",
		[]string{"CREATE VIRTUAL TABLE text5 USING fts5 (title, body)"},
		[]string{"INSERT INTO text5 SELECT name, 'the body of ' || name || ' says ' || (id % 13) FROM item", "DELETE FROM text5 WHERE rowid % 11 = 0"},
		[]string{"SELECT rowid, title FROM text5 WHERE text5 MATCH 'body AND 11' ORDER BY rank, rowid LIMIT 20", "SELECT count(*) FROM text5 WHERE text5 MATCH 'says'"},
	},
	{
		"fts4",
		[]string{"CREATE VIRTUAL TABLE text4 USING fts4 (title, body)"},
		[]string{"INSERT INTO text4 SELECT name, 'the body of ' || name || ' says ' || (id % 13) FROM item", "DELETE FROM text4 WHERE rowid % 11 = 0"},
		[]string{"SELECT title, snippet(text4) FROM text4 WHERE text4 MATCH '11' ORDER BY rowid", "SELECT title FROM text4 WHERE text4 MATCH 'body NEAR says' ORDER BY rowid LIMIT 9"},
	},
	{
		"rtree",
		[]string{"CREATE VIRTUAL TABLE box USING rtree (id, x0, x1, y0, y1)"},
		[]string{"INSERT INTO box SELECT id, id % 10, id % 10 + 2, id % 7, id % 7 + 1 FROM item"},
		[]string{"SELECT id FROM box WHERE x0 >= 3 AND x1 <= 6 AND y0 > 2 ORDER BY id"},
	},
}

// content is statements that make a database, and queries of it.
type content struct{ schema, rows, queries []string }

// contentFor returns the content that the SQLite of a connection can have.
func contentFor(c *conn) content {
	all := content{schema, rows, queries}
	list := "\n" + c.run("SELECT name FROM pragma_module_list") + "\n"
	for _, m := range modules {
		if strings.Contains(list, "\n"+m.name+"\n") {
			all.schema = append(all.schema[:len(all.schema):len(all.schema)], m.schema...)
			all.rows = append(all.rows[:len(all.rows):len(all.rows)], m.rows...)
			all.queries = append(all.queries[:len(all.queries):len(all.queries)], m.queries...)
		}
	}
	return all
}

// make makes the content on both databases of a pair, in a few transactions.
func (p pair) make(c content) {
	p.e.Helper()
	p.exec("BEGIN")
	p.exec(c.schema...)
	p.exec("COMMIT")
	p.exec(c.rows...)
}

// filled returns a replica that has content, and a plain file that has the same.
func (e *env) filled() (r replica, p pair, c content) {
	e.Helper()
	in := e.start()
	r = e.replica()
	p = pair{e, in.writer(r), in.plain()}
	c = contentFor(p.plain)
	p.make(c)
	p.replica.sync()
	return r, p, c
}
