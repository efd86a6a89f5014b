package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// writing returns the environment of a writer to a new replica. The extension
// is the default VFS.
func writing(t *testing.T) []string {
	return []string{replicaURL + "file://" + t.TempDir(), "LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_DEFAULT_VFS=true", "LITESTREAM_LOG_FILE=" + os.DevNull,
		"LITESTREAM_TEST_EXTENSION=" + extension(t)}
}

// TestPrograms_Speedtest1 checks that SQLite's speed test gives the same output
// in write mode as on a local file, and that another process finds all of its
// data on the replica.
func TestPrograms_Speedtest1(t *testing.T) {
	program := client(t, "LITESTREAM_TEST_SPEEDTEST1")
	for _, testset := range []string{"main", "orm", "cte"} {
		t.Run(testset, func(t *testing.T) {
			env := writing(t)
			run := func(env []string, dir string) string {
				cmd := command(t, env, program, "--size", "5", "--testset", testset, "--verify", "app.db")
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return regexp.MustCompile(`[0-9]+\.[0-9]+s`).ReplaceAllString(string(out), "")
			}
			dir := t.TempDir()
			want, got := run(nil, dir), run(env, t.TempDir())
			if got != want || !strings.Contains(want, "TOTAL") {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			shellEnv := append(env[:len(env):len(env)], "LITESTREAM_WRITE_ENABLED=false", "LITESTREAM_WAIT_FOR_REPLICA=0") // cte writes nothing
			wantShell(t, "", shellEnv, "ok", ".open app.db", "PRAGMA integrity_check;")
			if testset == "cte" {
				return // the database has no tables
			}
			local, _ := shell(t, dir, nil, ".open app.db", ".sha3sum")
			if remote, _ := shell(t, "", shellEnv, ".open app.db", ".sha3sum"); remote != local || local == "" {
				t.Errorf("replica has %q, the local file %q", remote, local)
			}
		})
	}
}

// TestPrograms_KVTest runs SQLite's test of blobs.
func TestPrograms_KVTest(t *testing.T) {
	program := client(t, "LITESTREAM_TEST_KVTEST")
	env := writing(t)
	dir := t.TempDir()
	const name = "file:kv.db?vfs=litestream"
	run := func(args ...string) string {
		cmd := command(t, env, program, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("init", name, "--count", "300", "--size", "5000", "--variance", "4000")
	// The program expects a file whose size is a multiple of the sector size.
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--random"}, {"--desc"}, {"--blob-api"}, {"--update", "--random"}} {
		out := run(append([]string{"run", name, "--count", "2000", "--integrity-check"}, args...)...)
		if !regexp.MustCompile(`(?m)^Content read rate|^Total elapsed`).MatchString(out) {
			t.Errorf("%v: %s", args, out)
		}
	}
	var count, least, most int
	got, stderr := shell(t, "", env[:1], ".open file:kv.db?vfs=litestream", ".separator ' '", "SELECT count(*), min(length(v)), max(length(v)) FROM kv;", "PRAGMA integrity_check;")
	if _, err := fmt.Sscanf(got, "%d %d %d\nok\n", &count, &least, &most); err != nil || count != 300 || least < 1000 || most > 9000 || least == most {
		t.Errorf("%q, %v; %s", got, err, stderr)
	}
}
