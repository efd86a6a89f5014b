package main

import "testing"

// Statements end where sqlite3_complete says.
func TestCompletion(t *testing.T) {
	for sql, want := range map[string]completion{
		"": blank, "  \t\n": blank, "-- c": blank, "-- c;\n": blank, "/* c; */": blank,
		"/* c": partial, "/*/": partial, "SELECT 1": partial, "SELECT 1 -- ;": partial, "SELECT 1; SELECT": partial, "SELECT 1; /* open": partial,
		"SELECT 1;": complete, ";": complete, "SELECT 1; -- done": complete, "SELECT 1;\n/* done */\n": complete,
		"SELECT ';": partial, "SELECT ';';": complete, `SELECT "a;`: partial, "SELECT `;`;": complete, "SELECT [;": partial, "SELECT [;];": complete,
		"SELECT 'it''s;": partial, "SELECT 'it''s';": complete, "SELECT '--';": complete, "SELECT '/*';": complete,
		"CREATE TABLE t (a);": complete, "SELECT trigger; SELECT 1;": complete, "END;": complete,
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1;":                           partial,
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END":                       partial,
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END;":                      complete,
		"create temp trigger t begin select case when 1 then 2 end;":                   partial,
		"create temp trigger t begin select 1; end;":                                   complete,
		"CREATE TEMPORARY TRIGGER t BEGIN SELECT 1; END -- x\n;":                       complete,
		"CREATE TRIGGER t BEGIN SELECT 1; END x; END;":                                 complete,
		"EXPLAIN CREATE TRIGGER x BEGIN y;":                                            partial,
		"EXPLAIN QUERY PLAN SELECT 1;":                                                 complete,
		"EXPLAIN QUERY PLAN CREATE TRIGGER t BEGIN SELECT 1;":                          partial,
		"CREATE TABLE trigger (a); SELECT 1;":                                          complete,
		"CREATE TR\u0131GGER t BEGIN SELECT 1;":                                        complete,
		"CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END; CREATE TRIGGER b ON;": partial,
	} {
		if got := completionOf(sql); got != want {
			t.Errorf("%q: %d, want %d", sql, got, want)
		}
	}
}
