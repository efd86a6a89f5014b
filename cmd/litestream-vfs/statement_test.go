package main_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestShell_LargeValue runs a query that has a list of values and a large blob.
// The list is looked at to read ahead, and the blob must not be expanded for that.
func TestShell_LargeValue(t *testing.T) {
	const blob = 8 << 20
	env := []string{replicaURL + "file://" + t.TempDir(), "LITESTREAM_LOG_LEVEL=error"}
	wantShell(t, "", append(env, "LITESTREAM_WRITE_ENABLED=true"), "0000000000000001", ".open file:app.db?vfs=litestream",
		"CREATE TABLE t (id INTEGER PRIMARY KEY, pad BLOB);",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) INSERT INTO t SELECT i, randomblob(900) FROM n;",
		"PRAGMA litestream_sync;")
	var ids []string
	for i := range 200 {
		ids = append(ids, strconv.Itoa(1+i*19))
	}
	got, stderr := shell(t, "", env, ".open file:app.db?vfs=litestream", "PRAGMA temp_store = FILE;", ".parameter init",
		fmt.Sprintf("INSERT INTO temp.sqlite_parameters VALUES (':b', zeroblob(%d));", blob), ".stats on",
		"SELECT 'rows ' || count(pad) FROM t WHERE length(pad) <> length(:b) AND id IN ("+strings.Join(ids, ",")+");")
	m := regexp.MustCompile(`Largest Allocation: +(\d+) bytes`).FindStringSubmatch(got)
	if !strings.Contains(got, "rows 200\n") || m == nil {
		t.Fatalf("%s\nstandard error:\n%s", got, stderr)
	}
	if largest, _ := strconv.Atoi(m[1]); largest > blob+blob/4 {
		t.Errorf("SQLite allocated %d bytes for a blob of %d", largest, blob)
	}
}
