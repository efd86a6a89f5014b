package main

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

const story = `
Now: transaction 0000000000000045, 4988 ratings, 1.00 stars on average. Nobody likes sandwiches any more?

The replica has 65 points in time. Around the one where the stars went:

transaction       time                      average  last event
000000000000003d  2026-03-14T11:59:45.768Z  3.00     live: rating 22
000000000000003e  2026-03-14T11:59:46.948Z  2.99     live: rating 23
000000000000003f  2026-03-14T11:59:48.309Z  2.99     live: rating 24
0000000000000040  2026-03-14T11:59:49.478Z  1.00     update: stars
0000000000000041  2026-03-14T11:59:50.675Z  1.00     report: all ratings look the same
0000000000000042  2026-03-14T11:59:51.796Z  1.00     report: all ratings look the same

PRAGMA past.litestream_time = '2026-03-14T11:59:49.477Z': transaction 000000000000003f, 4988 ratings, 2.99 stars on average.

3994 ratings had other stars then. This brings them back:

UPDATE sandwich_ratings SET stars = 5 WHERE id = 1 AND stars = 1; -- pulled pork on baguette, London
UPDATE sandwich_ratings SET stars = 2 WHERE id = 4 AND stars = 1; -- halloumi on whole wheat, Tokyo
UPDATE sandwich_ratings SET stars = 5 WHERE id = 5 AND stars = 1; -- roast beef on bagel, Lisbon
UPDATE sandwich_ratings SET stars = 5 WHERE id = 6 AND stars = 1; -- club on roll, Montreal
UPDATE sandwich_ratings SET stars = 3 WHERE id = 8 AND stars = 1; -- turkey on ciabatta, Reykjavik

For all of them: timetravel -sql | sqlite3 -bail -cmd '.timeout 30000' <the primary's database>
`

func TestRun_Story(t *testing.T) {
	t.Chdir("../..")
	var out bytes.Buffer
	if err := run(t.Context(), &out, defaultReplica, false); err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimPrefix(story, "\n"); out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestRun_Repair runs the script on a copy of the damaged database and compares
// the result with the original database. All files of the replica have the
// current time, as in any copy.
func TestRun_Repair(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../"+defaultReplica)); err != nil {
		t.Fatal(err)
	}
	var script bytes.Buffer
	if err := run(t.Context(), &script, dir, true); err != nil {
		t.Fatal(err)
	}

	vfs := litestream.NewVFS(file.NewReplicaClient(dir))
	defer func() {
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := registerVFS("litestream-check", vfs); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:ratings.db?vfs=litestream-check")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	copied := filepath.Join(t.TempDir(), "copy.db")
	stmts := []string{
		"VACUUM INTO '" + copied + "'",
		"ATTACH '" + copied + "' AS repaired",
		"PRAGMA main.litestream_txid = '000000000000003f'",
	}
	for line := range strings.Lines(script.String()) {
		stmts = append(stmts, strings.Replace(line, "UPDATE ", "UPDATE repaired.", 1))
	}
	for _, stmt := range stmts {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatalf("%.80s: %v", stmt, err)
		}
	}
	var rows, differ int
	if err := db.QueryRow(`SELECT count(*), count(*) FILTER (WHERE r.stars IS NOT m.stars)
		FROM main.sandwich_ratings AS m LEFT JOIN repaired.sandwich_ratings AS r USING (id)`).Scan(&rows, &differ); err != nil {
		t.Fatal(err)
	}
	if rows != 4988 || differ != 0 {
		t.Errorf("of %d rows, %d differ from what they were", rows, differ)
	}
}

func TestRun_NoDisaster(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../"+defaultReplica)); err != nil {
		t.Fatal(err)
	}
	late, err := filepath.Glob(filepath.Join(dir, "ltx", "0", "000000000000004*"))
	if err != nil || len(late) == 0 {
		t.Fatal(late, err)
	}
	for _, name := range late {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(t.Context(), new(bytes.Buffer), dir, false); err == nil || !strings.Contains(err.Error(), "there was no disaster") {
		t.Errorf("error is %v", err)
	}
}
