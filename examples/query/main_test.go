package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// runQuery runs the program in the root of the repository and returns its
// output, with N in place of the numbers of requests.
func runQuery(t *testing.T, args ...string) (out, log string, err error) {
	t.Helper()
	t.Chdir("../..")
	var stdout, stderr bytes.Buffer
	err = run(t.Context(), args, &stdout, &stderr)
	cost := regexp.MustCompile(`[\d.]+ (listings|reads|KiB read)`)
	return cost.ReplaceAllString(stdout.String(), "N $1"), stderr.String(), err
}

func TestRun(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"overview", nil, `
table             rows
-----             ----
_litestream_lock  0
_litestream_seq   0
events            69
sandwich_ratings  4988

as of transaction 0000000000000045, 2026-03-14T11:59:55.753Z
N listings, N reads, N KiB read; the database has 288.0 KiB
`},
		{"query", []string{"file:testdata/replicas/sandwiches", `SELECT id, detail, NULL AS n, x'00ff' AS blob, 'a
b' AS lines FROM events ORDER BY id DESC LIMIT 2`}, `
id  detail                     n     blob     lines
--  ------                     -     ----     -----
69  all ratings look the same  NULL  x'00ff'  a\nb
68  all ratings look the same  NULL  x'00ff'  a\nb

as of transaction 0000000000000045, 2026-03-14T11:59:55.753Z
N listings, N reads, N KiB read; the database has 288.0 KiB
`},
		{"time", []string{"-db", "a b?.db", "-time", "2026-03-14 11:59:49", "testdata/replicas/sandwiches", "SELECT round(avg(stars), 2) AS stars FROM sandwich_ratings"}, `
stars
-----
2.99

as of transaction 000000000000003f, 2026-03-14T11:59:48.309Z
N listings, N reads, N KiB read; the database has 288.0 KiB
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, log, err := runQuery(t, tc.args...)
			if err != nil {
				t.Fatalf("%v, log: %s", err, log)
			}
			if want := strings.TrimPrefix(tc.want, "\n"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestRun_Errors(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		err  string
		log  string
	}{
		{"no folder", []string{"testdata/no-such-folder"}, "no replica", ""},
		{"no such scheme", []string{"gopher://host/path"}, `no replica client is registered for url scheme "gopher"`, ""},
		{"empty replica", []string{"testdata/replicas/empty"}, "replica holds no database", "replica holds no database"},
		{"bad time", []string{"-time", "some day"}, `parse time "some day"`, ""},
		{"too old", []string{"-time", "1999-12-31"}, "transaction not available", ""},
		{"bad query", []string{"testdata/replicas/sandwiches", "SELECT * FROM soups"}, "no such table: soups", ""},
		{"write", []string{"testdata/replicas/sandwiches", "DELETE FROM events"}, "readonly", ""},
		{"query not quoted", []string{"testdata/replicas/sandwiches", "SELECT", "1"}, "quote the query", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, log, err := runQuery(t, tc.args...)
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error is %v, want one with %q; output: %s", err, tc.err, out)
			}
			if !strings.Contains(log, tc.log) {
				t.Errorf("log does not say %q: %s", tc.log, log)
			}
		})
	}
}

// TestRun_LostFileTimes travels in a copy of a replica. All files of the copy
// have the current time.
func TestRun_LostFileTimes(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../testdata/replicas/sandwiches")); err != nil {
		t.Fatal(err)
	}
	got, log, err := runQuery(t, "-time", "2026-03-14T11:59:49Z", dir, "SELECT litestream_txid() AS txid")
	if err != nil {
		t.Fatalf("%v, log: %s", err, log)
	}
	if !strings.Contains(got, "\n000000000000003f\n") {
		t.Errorf("got:\n%s", got)
	}
}
