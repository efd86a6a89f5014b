// Package network makes a database of people, what they write, and how they
// are tied to each other, and has the queries that a program runs on one when
// it boots: joins, and orders through an index. Tests and benchmarks count what
// these queries request.
package network

import "fmt"

// Size is the number of rows of a table for each person.
const (
	NotesPerPerson = 10
	TiesPerPerson  = 25
	MarksPerNote   = 3
)

// Statements returns the statements that fill an empty database. Equal numbers
// of people give equal databases. A person takes some 15 KB.
//
// Notes are inserted in the order of their times. Ties and marks are inserted
// in an order that is unrelated to their keys, so rows that belong together lie
// apart.
func Statements(people int) []string {
	notes := people * NotesPerPerson
	return []string{
		`CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL, about TEXT NOT NULL);
		CREATE TABLE notes (id INTEGER PRIMARY KEY, author INTEGER NOT NULL, time INTEGER NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL);
		CREATE TABLE ties (a INTEGER NOT NULL, b INTEGER NOT NULL, since INTEGER NOT NULL);
		CREATE TABLE marks (id INTEGER PRIMARY KEY, note INTEGER NOT NULL, person INTEGER NOT NULL, time INTEGER NOT NULL)`,

		fmt.Sprintf(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d)
		INSERT INTO people SELECT i, printf('person %%x', i * 2654435761 %% 4294967296), 'city ' || (i * 7919 %% 97), %s FROM c`,
			people, filler("100 + i * 40503 % 300")),

		// An author is a product of two numbers, so some write more than others.
		fmt.Sprintf(`WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d)
		INSERT INTO notes SELECT i, 1 + (i * 2654435761 %% 4294967296) * (i * 40503 %% 65536) / 65536 * %[2]d / 4294967296,
			1700000000 + i * 61, 'note ' || i, %[3]s FROM c`,
			notes, people, filler("200 + i * 2654435761 % 4294967296 % 1800")),

		fmt.Sprintf(`WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %d - 1)
		INSERT INTO ties SELECT 1 + i / %d, 1 + (i * 2654435761 %% 4294967296) * %d / 4294967296, 1500000000 + i FROM c ORDER BY i * 2246822519 %% 4294967296`,
			people*TiesPerPerson, TiesPerPerson, people),

		fmt.Sprintf(`WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %d - 1)
		INSERT INTO marks (note, person, time) SELECT 1 + i / %d, 1 + (i * 3266489917 %% 4294967296) * %d / 4294967296, 1700000000 + i * 23
		FROM c ORDER BY i * 668265263 %% 4294967296`,
			notes*MarksPerNote, MarksPerNote, people),

		`CREATE INDEX notes_author ON notes (author);
		CREATE INDEX notes_time ON notes (time);
		CREATE INDEX ties_ab ON ties (a, b);
		CREATE INDEX ties_ba ON ties (b, a);
		CREATE INDEX marks_note ON marks (note, person);
		CREATE INDEX marks_person ON marks (person, time)`,
	}
}

// FullText returns the statements that add a full-text index of the notes. With
// fts5 it has titles and bodies, without the letters that fill them up; with fts4,
// which needs a table for the content, the titles.
func FullText(module string) string {
	if module == "fts5" {
		return `CREATE VIEW texts AS SELECT id, title, rtrim(body, 'x') AS body FROM notes;
			CREATE VIRTUAL TABLE words USING fts5 (title, body, content='texts', content_rowid='id');
			INSERT INTO words (words) VALUES ('rebuild')`
	}
	return fmt.Sprintf(`CREATE VIRTUAL TABLE words USING %s (title, content='notes');
		INSERT INTO words (words) VALUES ('rebuild')`, module)
}

// Segments returns the statements that add a full-text index (FTS5) of many segments,
// which are not merged.
func Segments() string {
	return `CREATE VIEW texts AS SELECT id, title, rtrim(body, 'x') AS body FROM notes;
		CREATE VIRTUAL TABLE words USING fts5 (title, body, content='texts', content_rowid='id');
		INSERT INTO words (words, rank) VALUES ('automerge', 0);
		INSERT INTO words (words, rank) VALUES ('crisismerge', 1000);
		INSERT INTO words (words, rank) VALUES ('hashsize', 400000);
		INSERT INTO words (words) VALUES ('rebuild')`
}

// FullTextQuery is a query that needs [FullText]. It finds some rows in a hundred,
// which lie apart.
func FullTextQuery() Query {
	return Query{"full text", `SELECT count(*), sum(length(n.body)) FROM words w JOIN notes n ON n.id = w.rowid WHERE words MATCH '903*'`}
}

// filler is an expression for words of some length that compress to about a
// half.
func filler(length string) string {
	word := func(factor int) string {
		return fmt.Sprintf("substr('alder birch cedar dogwood elm fir ginkgo hazel ironwood juniper kapok linden maple ', 1 + i * %d %% 50, 30) || (i * %[1]d %% 999983)", factor)
	}
	return fmt.Sprintf("substr(printf('%%s %%s %%s %%s %%s %%s %%s %%s', %s, %s, hex(i * 57885161 %% 4294967291), %s, %s, %s, %s, %s) || printf('%%.*c', 2000, 'x'), 1, %s)",
		word(7919), word(104729), word(1299709), word(15485863), word(32452843), word(49979687), word(67867967), length)
}

// Query is a query of one kind. It needs the columns of few rows, so it returns
// one row with a summary of them.
type Query struct {
	Name string // in lower case
	SQL  string
}

// Queries returns the queries for a database with a number of people.
func Queries(people int) []Query {
	someone, other := people*61/100, people*23/100
	list := ""
	for i := range 200 {
		list += fmt.Sprintf(", %d", 1+(i*7919+people/3)%(people*NotesPerPerson))
	}
	list = list[2:]
	q := func(name, sql string, args ...any) Query { return Query{name, fmt.Sprintf(sql, args...)} }
	return []Query{
		q("newest 200 notes with their authors", `SELECT count(*), sum(length(x.body)), max(x.name) FROM
			(SELECT n.body, p.name FROM notes n JOIN people p ON p.id = n.author ORDER BY n.time DESC LIMIT 200) x`),
		q("notes of 100 people, grouped", `SELECT count(*), sum(notes), sum(bytes) FROM (SELECT p.id, count(n.id) AS notes, sum(length(n.body)) AS bytes
			FROM people p CROSS JOIN notes n ON n.author = p.id WHERE p.id BETWEEN %d AND %d GROUP BY p.id)`, someone, someone+99),
		q("profile", `SELECT p.name, (SELECT group_concat(title) FROM (SELECT title FROM notes WHERE author = p.id ORDER BY time DESC LIMIT 10)) FROM people p WHERE p.id = %d`, someone),
		q("who marked a note", `SELECT count(*), group_concat(p.name) FROM marks m JOIN people p ON p.id = m.person WHERE m.note = %d`, someone*7),
		q("friends in common", `SELECT count(*), group_concat(x.b) FROM ties x JOIN ties y ON y.a = %d AND y.b = x.b WHERE x.a = %d`, other, someone),
		q("what friends wrote", `SELECT count(*), sum(length(n.body)) FROM ties t CROSS JOIN notes n ON n.author = t.b WHERE t.a = %d`, someone),
		q("friends of friends", `SELECT count(DISTINCT y.b) FROM ties x JOIN ties y ON y.a = x.b WHERE x.a = %d`, someone),
		q("friends of friends of friends", `SELECT count(DISTINCT z.b) FROM ties x CROSS JOIN ties y ON y.a = x.b CROSS JOIN ties z ON z.a = y.b WHERE x.a = %d`, other),
		q("notes without marks of friends, left join", `SELECT count(*), sum(m.id IS NULL), max(p.name) FROM notes n LEFT JOIN marks m ON m.note = n.id LEFT JOIN people p ON p.id = m.person
			WHERE n.author IN (%d, %d, %d)`, other, someone, someone+7),
		q("people with a marked note, exists", `SELECT count(*), sum(length(about)) FROM people p WHERE p.id BETWEEN %d AND %d
			AND EXISTS (SELECT 1 FROM marks m WHERE m.person = p.id AND m.time > 1700001000)`, other, other+199),
		q("notes by a list of 200", `SELECT count(*), sum(length(body)) FROM notes WHERE id IN (%s)`, list),
		q("cities of the authors of a time, grouped", `SELECT count(*), sum(n) FROM (SELECT p.city, count(*) AS n FROM notes n CROSS JOIN people p ON p.id = n.author
			WHERE n.time BETWEEN %d AND %d GROUP BY p.city)`, 1700000000+61*someone, 1700000000+61*(someone+150)),
		q("newest marks of a person, with notes and authors", `SELECT count(*), sum(length(body)), max(name) FROM (SELECT n.body, p.name FROM marks m CROSS JOIN notes n ON n.id = m.note
			CROSS JOIN people p ON p.id = n.author WHERE m.person = %d ORDER BY m.time DESC LIMIT 30)`, someone),
		q("50 people by name, through an index", `SELECT count(*), sum(length(about)) FROM (SELECT p.about FROM ties t CROSS JOIN people p ON p.id = t.a WHERE t.b >= %d ORDER BY t.b, t.a LIMIT 50)`, other),
	}
}
