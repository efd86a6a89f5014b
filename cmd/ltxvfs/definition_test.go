package main

import "testing"

// A text that has a quote or a comment that goes on, another statement, or what SQLite
// and its shell read in two ways, is not one statement.
func TestIsOneStatement(t *testing.T) {
	for sql, want := range map[string]bool{
		"CREATE TABLE t(a, b DEFAULT ';' CHECK (b <> '$x'), [;], `;`)": true, "CREATE TABLE \"x\n.shell echo\" (a)": true, "CREATE TABLE t(a /* ; */)": true,
		"CREATE TABLE t(a) -- c\n": true, "CREATE TABLE a$b(c)": true, "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END": true,
		"CREATE TR\u0131GGER t AFTER INSERT ON a BEGIN SELECT 1; END": false,
		"": false, " ": false, ";": false, "-- c": false, "CREATE TABLE t(a);": false, "CREATE TABLE t(a); SELECT 1": false, "CREATE TABLE t(a);\n.shell echo": false,
		"CREATE TABLE t(a) -- c": false, "CREATE TABLE t(a) /* c": false, "CREATE TABLE t(a 'b)": false, "CREATE TABLE t(\"a)": false, "CREATE TABLE t([a)": false,
		"CREATE TABLE t(a)\x00": false, "CREATE TABLE t(a DEFAULT 'b\x00')": false, "CREATE VIRTUAL TABLE t USING m($a('); ATTACH 'x' AS y; --'))": false,
		"CREATE VIRTUAL TABLE t USING m(@a('))": false, "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1": false,
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END; SELECT 1": false,
		"CREATE TABLE t(a)\n/\n.shell echo":                                false, "CREATE TABLE t(a)\n \v/ -- c\n.shell echo": false, "CREATE TABLE t(a)\r\nGo /* c */\r\n.shell echo": false,
		"CREATE TABLE t(a)\n//**/\n.shell echo": false, "CREATE VIEW v AS SELECT 1\n/\ngo\n.shell \"x\"\nFROM (SELECT 1 AS shell) AS go": false,
		"CREATE TABLE t(a DEFAULT '\n/\n', \"\ngo\n\" INT)": true, "CREATE TABLE t(go INT)": true, "CREATE TABLE t(a DEFAULT (4\n/ 2))": true, "CREATE TABLE t(a DEFAULT (4 /\n2))": true,
	} {
		if got := isOneStatement(sql); got != want {
			t.Errorf("%q: %v, want %v", sql, got, want)
		}
	}
}

// A definition creates one thing of the kinds that are asked for, and runs nothing.
func TestIsDefinition(t *testing.T) {
	for sql, want := range map[string]bool{
		"CREATE TABLE t(a, b TEXT DEFAULT ';') WITHOUT ROWID, STRICT": true, "CREATE TABLE \"x\n.shell echo\" (a)": true, "CREATE TABLE 'f_data'(id INTEGER PRIMARY KEY, block BLOB)": true,
		"CREATE VIRTUAL TABLE f USING fts5(a, tokenize = 'porter')": true, "CREATE VIRTUAL TABLE f USING dbstat": true,
		"": false, ".shell echo": false, "DROP TABLE t": false, "\n.shell echo\nCREATE TABLE t(a)": false, "CREATE TABLE t(a);\n.shell echo": false,
		"CREATE TABLE t AS SELECT writefile('a', 'b')": false, "CREATE TABLE IF NOT EXISTS t AS SELECT 1": false, "CREATE TEMP TABLE t AS SELECT 1": false,
		"CREATE TABLE main.t AS SELECT 1": false, "CREATE VIEW v AS SELECT 1": false, "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END": false,
	} {
		if got := isDefinition(sql, "TABLE", "VIRTUAL"); got != want {
			t.Errorf("%q: %v, want %v", sql, got, want)
		}
	}
}

// .schema prints definitions as statements, and anything else as a comment.
func TestStatementOf(t *testing.T) {
	for definition, want := range map[string]string{
		"CREATE TABLE t(a)":                                                "CREATE TABLE t(a);",
		"CREATE UNIQUE INDEX i ON t(a) WHERE a > 0":                        "CREATE UNIQUE INDEX i ON t(a) WHERE a > 0;",
		"CREATE VIEW v AS SELECT 1 -- one":                                 "CREATE VIEW v AS SELECT 1 -- one\n;",
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END": "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;",
		"CREATE TABLE t(a);\n.shell echo":                                  `-- not a definition: "CREATE TABLE t(a);\n.shell echo"`,
		".shell echo":                                                      `-- not a definition: ".shell echo"`,
		"CREATE TABLE t(a 'b)\n.shell echo":                                `-- not a definition: "CREATE TABLE t(a 'b)\n.shell echo"`,
		"CREATE TABLE t AS SELECT 1":                                       `-- not a definition: "CREATE TABLE t AS SELECT 1"`,
	} {
		if got := statementOf(definition); got != want {
			t.Errorf("%q: got %q, want %q", definition, got, want)
		}
	}
}
