package main_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const replicaURL = "LITESTREAM_REPLICA_URL="

func TestShell_Read(t *testing.T) {
	url := sandwiches(t)
	open := ".open file:app.db?vfs=litestream"
	const want = `4988|1.0
0000000000000045|0000000000000045
2026-03-14T11:59:48.309Z
4988|2.994
0000000000000001
0000000000000045
4988`
	lines := []string{
		"SELECT count(*), round(avg(stars), 3) FROM sandwich_ratings;",
		"SELECT litestream_txid() || '|' || litestream_txid();",
		"SELECT litestream_set_time('2026-03-14 11:59:49');",
		"SELECT count(*), round(avg(stars), 3) FROM sandwich_ratings;",
		"SELECT litestream_set_txid('0000000000000001');",
		"PRAGMA litestream_time = latest;",
		"PRAGMA litestream_txid;",
		"SELECT count(*) FROM sandwich_ratings;",
	}
	wantShell(t, "", []string{replicaURL + url}, want, append([]string{open}, lines...)...)
	wantShell(t, "", nil, want, append([]string{open + "&replica_url=" + url}, lines...)...)
}

func TestShell_Functions(t *testing.T) {
	got, _ := shell(t, "", []string{replicaURL + sandwiches(t)}, ".open file:app.db?vfs=litestream",
		"SELECT typeof(litestream_txid()), typeof(litestream_time()), typeof(litestream_lag()), typeof(litestream_hydration_progress()), litestream_hydration_status(), litestream_hydration_file(), litestream_write_enabled();",
		"SELECT json_extract(litestream_status(), '$.view.txid'), json_array_length(litestream_history()) > 10, litestream_set_time(NULL) IS NULL;",
		"SELECT litestream_time();")
	const want = "text|text|integer|real|idle||0\n0000000000000045|1|1\n2026-03-14T11:59:55.753Z\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestShell_Follow checks that a shell sees what another process writes, and
// that it stays in the past after it has travelled there.
func TestShell_Follow(t *testing.T) {
	env := []string{replicaURL + "file://" + t.TempDir(), "LITESTREAM_POLL_INTERVAL=20ms", "LITESTREAM_SYNC_INTERVAL=-1s"}
	write := append(env, "LITESTREAM_WRITE_ENABLED=true")
	writer := newSession(t, write)
	if got := writer.run(".open file:w.db?vfs=litestream", "CREATE TABLE t (v); INSERT INTO t VALUES (1);", "SELECT litestream_sync();"); got != "0000000000000001" {
		t.Fatalf("sync: %q", got)
	}
	reader := newSession(t, env)
	if got := reader.run(".open file:r.db?vfs=litestream", "SELECT v FROM t;"); got != "1" {
		t.Fatalf("read: %q", got)
	}
	if got := writer.run("UPDATE t SET v = 2; SELECT litestream_sync();"); got != "0000000000000002" {
		t.Fatalf("sync: %q", got)
	}
	reader.until("2", "SELECT v FROM t;")
	if got := reader.run("SELECT litestream_set_txid('0000000000000001'); SELECT v FROM t;"); got != "0000000000000001\n1" {
		t.Fatalf("travel: %q", got)
	}
	writer.run("UPDATE t SET v = 3; SELECT litestream_sync();")
	reader.until("1\n3", "PRAGMA litestream_txid = '0000000000000001'; SELECT v FROM t; PRAGMA litestream_txid = latest; SELECT v FROM t;")
}

func TestShell_Write(t *testing.T) {
	for name, url := range map[string]string{"file": "file://" + t.TempDir(), "s3": ""} {
		t.Run(name, func(t *testing.T) {
			env := []string{"LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_BUFFER_PATH=" + filepath.Join(t.TempDir(), "buffer")}
			if url == "" {
				url, env = s3URL(t, env)
			}
			env = append(env, replicaURL+url)
			wantShell(t, "", env, "0000000000000001\nok\n1000\n1", ".open file:app.db?vfs=litestream",
				"CREATE TABLE t (id INTEGER PRIMARY KEY, v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO t SELECT i, hex(randomblob(100)) FROM n;",
				"SELECT litestream_sync();", "PRAGMA integrity_check;", "BEGIN; DELETE FROM t WHERE id > 1; ROLLBACK;", "SELECT count(*) FROM t;", "SELECT litestream_write_enabled();")
			// The close syncs.
			wantShell(t, "", env, "", ".open file:app.db?vfs=litestream", "DELETE FROM t WHERE id > 500;")
			wantShell(t, "", env, "0000000000000002|500\nok", ".open file:app.db?vfs=litestream&mode=ro",
				"SELECT litestream_txid(), count(*) FROM t;", "PRAGMA integrity_check;")
		})
	}
}

// s3URL returns a URL on the S3 server of the tests, and an environment with
// credentials for it.
func s3URL(t testing.TB, env []string) (string, []string) {
	t.Helper()
	from := "scripts/servers start"
	endpoint, bucket := variable(t, "LITESTREAM_TEST_S3", from), variable(t, "LITESTREAM_TEST_S3_BUCKET", from)
	name := strings.ReplaceAll(t.Name(), "/", "-") + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid())
	return "s3://" + bucket + "/" + name + "?endpoint=" + endpoint, append(env, "AWS_ACCESS_KEY_ID=testkey", "AWS_SECRET_ACCESS_KEY=testsecret")
}

// TestShell_LocalInstead checks that a local file that is opened where the
// environment names a replica is a warning, once.
func TestShell_LocalInstead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	shell(t, dir, nil, ".open app.db", "CREATE TABLE t (x); INSERT INTO t VALUES (7);")
	const warning = `level=WARN msg="an existing local file is opened, and no name is the replica of LITESTREAM_REPLICA_URL yet" file=`
	env := []string{"LITESTREAM_DEFAULT_VFS=true"}
	for _, c := range []struct {
		env   []string
		first string
		want  int
	}{
		{append(env, replicaURL+sandwiches(t)), ".open app.db", 1},
		{append(env, replicaURL+sandwiches(t)), ".open new.db", 0}, // which is the replica
		{env, ".open app.db", 0},
	} {
		out, stderr := shell(t, dir, c.env, c.first, ".open app.db", "SELECT x FROM t;")
		if got := strings.Count(stderr, warning+path); out != "7\n" || got != c.want {
			t.Errorf("%v, %s: %d warnings, want %d; out %q, log\n%s", c.env, c.first, got, c.want, out, stderr)
		}
	}
}

// TestShell_Hydrate checks that a path alone enables hydration, and that the
// next process can use the file.
func TestShell_Hydrate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.db")
	s := newSession(t, []string{replicaURL + sandwiches(t), "LITESTREAM_HYDRATION_PATH=" + path, "LITESTREAM_LOG_LEVEL=error"})
	s.run(".open file:app.db?vfs=litestream")
	s.until("complete|100.0", "SELECT litestream_hydration_status(), litestream_hydration_progress();")
	if got := s.run("SELECT litestream_hydration_file();", "SELECT count(*) FROM sandwich_ratings;"); got != path+"\n4988" {
		t.Error(got)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 72*4096+32 { // with the mark at its end
		t.Error(info, err)
	}
}

// TestShell_Errors checks that the text of an error reaches the user of the
// shell.
func TestShell_Errors(t *testing.T) {
	url := sandwiches(t)
	const open = ".open file:app.db?vfs=litestream"
	for _, c := range []struct {
		name  string
		env   []string
		lines []string
		want  string
	}{
		{"no URL", nil, []string{open}, "no replica: set LITESTREAM_REPLICA_URL, or give replica_url="},
		{"bad URL", nil, []string{open + "&replica_url=foo://x"}, `no replica client is registered for url scheme "foo"`},
		{"bad URL in the environment", []string{replicaURL + "foo://x"}, nil, `LITESTREAM_REPLICA_URL: no replica client is registered for url scheme "foo"`},
		{"bad variable", []string{"LITESTREAM_POLL_INTERVAL=often"}, nil, `LITESTREAM_POLL_INTERVAL: invalid duration "often"`},
		{"bad parameter", []string{replicaURL + url}, []string{open + "&cache_size=big"}, `parameter cache_size: invalid size "big"`},
		{"misspelt parameter", []string{replicaURL + url}, []string{open + "&cache_sise=64MiB"}, `unknown parameter "cache_sise", did you mean "cache_size"?`},
		{"no database", []string{replicaURL + "file://" + t.TempDir()}, []string{open + "&wait_for_replica=0"}, "replica holds no database"},
		{"storage down", []string{replicaURL + "s3://b/x?endpoint=http://127.0.0.1:1", "AWS_ACCESS_KEY_ID=k", "AWS_SECRET_ACCESS_KEY=s", "LITESTREAM_OPEN_TIMEOUT=300ms"},
			[]string{open}, "connection refused"},
		{"read-only", []string{replicaURL + url}, []string{open, "DELETE FROM sandwich_ratings;"}, "attempt to write a readonly database"},
		{"unknown time", []string{replicaURL + url}, []string{open, "SELECT litestream_set_time('whenever');"}, `parse time "whenever": unknown form`},
		{"unknown time, PRAGMA", []string{replicaURL + url}, []string{open, "PRAGMA litestream_time = 'whenever';"}, `parse time "whenever": unknown form`},
		{"too early", []string{replicaURL + url}, []string{open, "PRAGMA litestream_time = '1999-01-01';"}, "1999-01-01"},
		{"unknown transaction", []string{replicaURL + url}, []string{open, "PRAGMA litestream_txid = '00000000000000ff';"}, "00000000000000ff"},
		{"not a setting", []string{replicaURL + url}, []string{open, "PRAGMA litestream_lag = 3;"}, "it cannot be set"},
		{"in a transaction", []string{replicaURL + url}, []string{open, "BEGIN; SELECT 1 FROM sandwich_ratings LIMIT 1;", "PRAGMA litestream_time = 'yesterday';"}, "transaction"},
		{"another main database", nil, []string{"SELECT litestream_txid();"}, "the main database is not served by litestream"},
		{"another main database, set", nil, []string{"SELECT litestream_set_time('now');"}, "the main database is not served by litestream"},
		{"setter in a view", nil, []string{"CREATE VIEW v AS SELECT litestream_set_time('now');", "SELECT * FROM v;"}, "unsafe use of litestream_set_time()"},
		{"bad list of parameters", []string{"LITESTREAM_URI_PARAMETERS=cache_size,cash_size"}, nil, `LITESTREAM_URI_PARAMETERS: unknown parameter "cash_size"`},
		{"bad value for local files", []string{"LITESTREAM_LOCAL_FILES=few"}, nil, `LITESTREAM_LOCAL_FILES: invalid value "few", want all, existing or none`},
		{"setter in a trigger", nil, []string{"CREATE TABLE t (v); CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT litestream_set_write_enabled(1); END;", "INSERT INTO t VALUES (1);"}, "unsafe use of litestream_set_write_enabled()"},
		{"sync in a view", nil, []string{"CREATE VIEW v AS SELECT litestream_sync();", "SELECT * FROM v;"}, "unsafe use of litestream_sync()"},
		{"other options", []string{replicaURL + url}, []string{open, "ATTACH 'file:app.db?vfs=litestream&cache_size=1MiB' AS other;", "SELECT * FROM other.sandwich_ratings;"}, "unable to open database"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The log goes to a file, so that the output holds SQLite's message
			// only.
			env := append(c.env, "LITESTREAM_LOG_FILE="+filepath.Join(t.TempDir(), "log"))
			if _, stderr := shell(t, "", env, c.lines...); !strings.Contains(stderr, c.want) {
				t.Errorf("%q, want %q", stderr, c.want)
			}
		})
	}
}

// TestShell_Load loads the extension under several file names and several
// times. A second copy of the file is refused.
func TestShell_Load(t *testing.T) {
	so := extension(t)
	dir := t.TempDir()
	for _, name := range []string{"litestream-vfs.so", "other.so"} {
		if err := os.Symlink(so, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{replicaURL + sandwiches(t)}
	const count = "SELECT count(*) FROM sandwich_ratings;"
	for _, load := range []string{so, strings.TrimSuffix(so, ".so"), filepath.Join(dir, "litestream-vfs"), filepath.Join(dir, "other.so"), so + " sqlite3_litestream_init", so + " sqlite3_litestreamvfs_init"} {
		wantShell(t, "", env, "4988\n4988", ".load "+load, ".load "+load, ".open file:app.db?vfs=litestream", count, ".load "+load, count)
	}
	// This loads the extension while one of its functions is in use.
	wantShell(t, "", env, "0000000000000045|", ".open file:app.db?vfs=litestream", "SELECT litestream_txid(), load_extension('"+so+"');")

	b, err := os.ReadFile(so)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "copy.so"), b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, stderr := shell(t, "", nil, ".load "+filepath.Join(dir, "copy.so")); !strings.Contains(stderr, "a VFS of that name is registered already") {
		t.Error(stderr)
	}
}

// TestShell_Attach attaches the past beside the present, and local files beside
// a replica.
func TestShell_Attach(t *testing.T) {
	env := []string{replicaURL + sandwiches(t)}
	dir := t.TempDir()
	wantShell(t, dir, env, "2026-03-14T11:59:48.309Z\n4988\nok\n4988\nwal\n1", ".open file:app.db?vfs=litestream",
		"ATTACH 'file:app.db?vfs=litestream' AS past;",
		"PRAGMA past.litestream_time = '2026-03-14 11:59:49';",
		"PRAGMA past.litestream_time;", "SELECT count(*) FROM past.sandwich_ratings AS p JOIN main.sandwich_ratings AS m USING (id) WHERE m.stars = 1;",
		"VACUUM INTO 'copy.db';",
		"ATTACH 'copy.db' AS copy;", "PRAGMA copy.integrity_check;", "SELECT count(*) FROM copy.sandwich_ratings;",
		"ATTACH 'local.db' AS local;", "PRAGMA local.journal_mode = wal;",
		"CREATE TABLE local.t (v); INSERT INTO local.t VALUES (1); SELECT v FROM local.t;")
	for _, name := range []string{"copy.db", "local.db"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestShell_SeveralDatabases checks that a transaction over several replicas
// commits. One over a replica and an attached local file is refused; one over a
// local file and an attached replica commits.
func TestShell_SeveralDatabases(t *testing.T) {
	a, b := "file:a.db?vfs=litestream&write_enabled=1&replica_url=file://"+t.TempDir(), "file:b.db?vfs=litestream&write_enabled=1&replica_url=file://"+t.TempDir()
	both := "BEGIN; INSERT INTO main.t VALUES (2); INSERT INTO other.t VALUES (2); COMMIT;"
	counts := "SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM other.t);"
	dir := t.TempDir()
	wantShell(t, dir, nil, "0|0\n1|1", ".open "+a, "ATTACH '"+b+"' AS other;", "CREATE TABLE main.t (v); CREATE TABLE other.t (v);", counts, both, counts)
	wantShell(t, dir, nil, "1|1", ".open "+a, "ATTACH '"+b+"' AS other;", counts)

	got, stderr := shell(t, dir, nil, ".open "+a, "ATTACH 'local.db' AS other;", "CREATE TABLE other.t (v);", both, "ROLLBACK;", counts)
	if got != "1|0\n" || !strings.Contains(stderr, "disk I/O error") {
		t.Errorf("%q, %q", got, stderr)
	}
	wantShell(t, dir, []string{"LITESTREAM_DEFAULT_VFS=true"}, "0|1\n1|2\nok", ".open local.db", "ATTACH '"+b+"' AS other;", counts, both, counts, "PRAGMA integrity_check;")
	if left, _ := filepath.Glob(filepath.Join(dir, "*-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestShell_SeveralDatabasesDiskFull runs transactions over two replicas while
// the write buffer fills up. Each transaction is in both replicas or, with an
// error, in neither.
func TestShell_SeveralDatabasesDiskFull(t *testing.T) {
	for _, mode := range []string{"NORMAL", "EXCLUSIVE"} {
		t.Run(mode, func(t *testing.T) {
			const transactions = 40
			uri := func(name, dir string) string {
				return "file:" + name + "?vfs=litestream&write_enabled=1&sync_interval=1h&compaction_disabled=1&replica_url=file://" + dir
			}
			a, b := uri("a.db", t.TempDir()), uri("b.db", t.TempDir())
			lines := []string{".load " + extension(t), ".open " + a, "ATTACH '" + b + "' AS other;", "PRAGMA locking_mode = " + mode + ";",
				"CREATE TABLE main.t (v); CREATE TABLE other.t (v);"}
			for range transactions {
				lines = append(lines, "BEGIN; INSERT INTO main.t VALUES (randomblob(10000)); INSERT INTO other.t VALUES (randomblob(9000)); COMMIT;")
			}
			const counts = "SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM other.t);"
			lines = append(lines, ".print the end", counts)
			cmd := command(t, nil, "bash", "-c", `trap "" XFSZ; ulimit -f 300; exec "$@"`, "bash", client(t, "LITESTREAM_TEST_SQLITE3"), "-batch", "-init", os.DevNull)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr, cmd.Stdin = &out, &errs, strings.NewReader(strings.Join(lines, "\n")+"\n")
			_ = cmd.Run() // the command fails if a statement has failed
			n := transactions - strings.Count(errs.String(), "disk I/O error")
			want := fmt.Sprintf("%d|%d", n, n)
			if _, got, _ := strings.Cut(out.String(), "the end\n"); strings.TrimSpace(got) != want || n == 0 || n == transactions {
				t.Errorf("tables have %q rows, want %s\n%s", got, want, errs.String())
			}
			wantShell(t, "", nil, want, ".open "+a, "ATTACH '"+b+"' AS other;", counts)
		})
	}
}

// TestShell_DefaultVFS opens names that cannot say which VFS they want.
func TestShell_DefaultVFS(t *testing.T) {
	dir := t.TempDir()
	env := []string{"LITESTREAM_DEFAULT_VFS=true", replicaURL + sandwiches(t)}
	if err := os.WriteFile(filepath.Join(dir, "empty.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantShell(t, dir, nil, "wal", ".open here.db", "PRAGMA journal_mode = wal;", "CREATE TABLE t (v);")
	wantShell(t, dir, env, "0\nwal\n1\n1048576\n1\n4988|0000000000000045\n4988\n0",
		".open empty.db", "SELECT count(*) FROM sqlite_schema;",
		".open here.db", "PRAGMA journal_mode = wal;", "INSERT INTO t VALUES (1); SELECT count(*) FROM t;", "PRAGMA mmap_size = 1048576;", "SELECT count(*) FROM t;",
		".open app.db", "SELECT count(*), litestream_txid() FROM sandwich_ratings;",
		".open ./app.db", "SELECT count(*) FROM sandwich_ratings;",
		".open new.db", "CREATE TABLE n (v); SELECT count(*) FROM n;")
	for name, there := range map[string]bool{"here.db": true, "app.db": false, "new.db": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestShell_Restricted checks that names and PRAGMAs set only what
// LITESTREAM_URI_PARAMETERS lists, and that LITESTREAM_LOCAL_FILES=none keeps
// SQL from other files.
func TestShell_Restricted(t *testing.T) {
	dir := t.TempDir()
	logFile := filepath.Join(t.TempDir(), "log")
	env := []string{replicaURL + "file://" + t.TempDir(), "LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_LOG_FILE=" + logFile, "LITESTREAM_URI_PARAMETERS=cache_size", "LITESTREAM_LOCAL_FILES=none"}
	const open = ".open file:app.db?vfs=litestream&cache_size=1MiB"
	secret := t.TempDir()
	for _, c := range []struct{ statement, want, stderr string }{
		{"ATTACH 'file:y?vfs=litestream&mode=rwc&replica_url=file://" + secret + "' AS x;", "parameter replica_url is not allowed", "unable to open database"},
		{"ATTACH 'file:y?vfs=litestream&buffer_path=" + secret + "/b' AS x;", "parameter buffer_path is not allowed", "unable to open database"},
		{"ATTACH 'file:y?vfs=litestream&write_enabled=true' AS x;", "parameter write_enabled is not allowed", "unable to open database"},
		{"ATTACH 'local.db' AS x;", "LITESTREAM_LOCAL_FILES allows no local files", "unable to open database"},
		{"VACUUM INTO 'local.db';", "LITESTREAM_LOCAL_FILES allows no local files", "unable to open database"},
		{"PRAGMA litestream_write_enabled = 0;", "", "parameter write_enabled is not allowed"},
		{"SELECT litestream_set_write_enabled(0);", "", "parameter write_enabled is not allowed"},
	} {
		if err := os.WriteFile(logFile, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got, stderr := shell(t, dir, env, open, "CREATE TABLE IF NOT EXISTS t (v);", c.statement, "CREATE TABLE x.t (v);", "SELECT litestream_write_enabled();")
		if got != "1\n" || !strings.Contains(stderr, c.stderr) || strings.Contains(stderr, secret) {
			t.Errorf("%s: %q, %q", c.statement, got, stderr)
		}
		if log, err := os.ReadFile(logFile); err != nil || !strings.Contains(string(log), c.want) || strings.Contains(string(log), secret) {
			t.Errorf("%s: the log says %s, %v", c.statement, log, err)
		}
	}
	for _, folder := range []string{dir, secret} {
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("left in %s: %v, %v", folder, left, err)
		}
	}
	// An empty list restricts, too.
	if _, stderr := shell(t, "", append(env, "LITESTREAM_URI_PARAMETERS="), open); !strings.Contains(stderr, "parameter cache_size is not allowed") {
		t.Error(stderr)
	}
}

// TestShell_WAL checks that a connection that keeps its lock cannot change to
// WAL mode, whether or not the replica is told of the change. The connection
// still works afterwards.
func TestShell_WAL(t *testing.T) {
	const exclusive = "PRAGMA locking_mode = EXCLUSIVE;"
	for name, c := range map[string]struct {
		lines  []string
		pragma string
	}{
		"main":              {[]string{".open file:app.db?vfs=litestream", exclusive, "CREATE TABLE t (v); INSERT INTO t VALUES (1);"}, "PRAGMA journal_mode = WAL;"},
		"attached":          {[]string{exclusive, "ATTACH 'file:app.db?vfs=litestream' AS r;", "CREATE TABLE r.t (v); INSERT INTO t VALUES (1);"}, "PRAGMA r.journal_mode = WAL;"},
		"attached, unheard": {[]string{exclusive, "ATTACH 'file:app.db?vfs=litestream' AS r;", "CREATE TABLE r.t (v); INSERT INTO t VALUES (1);"}, "PRAGMA journal_mode = WAL;"},
	} {
		t.Run(name, func(t *testing.T) {
			env := []string{replicaURL + "file://" + t.TempDir(), "LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_LOG_LEVEL=error"}
			lines := append(c.lines, c.pragma, "INSERT INTO t VALUES (2);", "SELECT 'holds ' || group_concat(v) FROM t;", c.pragma, "DELETE FROM t WHERE v = 1; SELECT 'holds ' || group_concat(v) FROM t;")
			got, stderr := shell(t, "", env, lines...)
			if !strings.Contains(got, "holds 1,2\n") || !strings.Contains(got, "holds 2\n") || strings.Contains(got, "wal") || !strings.Contains(stderr, "there is no WAL mode") {
				t.Errorf("%q, %q", got, stderr)
			}
			wantShell(t, "", env, "2\nok", ".open file:app.db?vfs=litestream&mode=ro", "SELECT v FROM t; PRAGMA integrity_check;")
		})
	}
}

// TestShell_Exclusive checks that a connection that keeps its lock commits,
// rolls back what it has already written to the file, and syncs, in every
// journal mode.
func TestShell_Exclusive(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY"} {
		for _, sync := range []string{"OFF", "FULL"} {
			t.Run(mode+" "+sync, func(t *testing.T) {
				env := []string{replicaURL + "file://" + t.TempDir(), "LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_LOG_LEVEL=error"}
				const fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO t SELECT zeroblob(2000) FROM n;"
				wantShell(t, "", env, strings.ToLower(mode)+"\nexclusive\n0000000000000001\n101\n0000000000000002\nok",
					".open file:app.db?vfs=litestream", "PRAGMA journal_mode = "+mode+"; PRAGMA synchronous = "+sync+"; PRAGMA cache_size = 3;",
					"PRAGMA locking_mode = EXCLUSIVE;", "CREATE TABLE t (v); BEGIN; "+fill+" ROLLBACK; INSERT INTO t VALUES (1);",
					"BEGIN; "+fill+" DELETE FROM t; ROLLBACK;", "PRAGMA litestream_sync;",
					fill+" SELECT count(*) FROM t;", "VACUUM; PRAGMA litestream_sync; PRAGMA integrity_check;")
				wantShell(t, "", env, "101\nok", ".open file:app.db?vfs=litestream&mode=ro", "SELECT count(*) FROM t; PRAGMA integrity_check;")
			})
		}
	}
}

// TestShell_SharedCache checks that a replica is not opened with SQLite's
// shared cache, and that the error says so.
func TestShell_SharedCache(t *testing.T) {
	env := []string{replicaURL + sandwiches(t), "LITESTREAM_LOG_LEVEL=error"}
	const count, want = "SELECT count(*) FROM sandwich_ratings;", "cannot be opened with SQLite's shared cache: say cache=private"
	if got, stderr := shell(t, "", env, ".open file:app.db?vfs=litestream&cache=shared", count); got != "" || !strings.Contains(stderr, "automatic extension loading failed: litestream: open") || !strings.Contains(stderr, want) {
		t.Errorf("%q, %q", got, stderr)
	}
	got, stderr := shell(t, "", env, ".open file:app.db?vfs=litestream&cache=private", "ATTACH 'file:app.db?vfs=litestream&cache=shared' AS x;", "SELECT count(*) FROM x.sandwich_ratings;", count)
	if got != "4988\n" || !strings.Contains(stderr, want) {
		t.Errorf("%q, %q", got, stderr)
	}
	// SQLite alone handles local files.
	wantShell(t, "", append(env, "LITESTREAM_DEFAULT_VFS=true"), "4988\n1", ".open file:app.db?vfs=litestream", count,
		".open file:local.db?vfs=unix", "CREATE TABLE t (v);", ".open file:local.db?cache=shared", "INSERT INTO t VALUES (1); SELECT v FROM t;")
}

// TestShell_Checksums puts SQLite's cksumvfs in front of the extension. It
// accepts the checksums that it has written, in every process that opens the
// database.
func TestShell_Checksums(t *testing.T) {
	cksumvfs := client(t, "LITESTREAM_TEST_CKSUMVFS")
	env := []string{replicaURL + "file://" + t.TempDir(), "LITESTREAM_WRITE_ENABLED=true", "LITESTREAM_DEFAULT_VFS=true", "LITESTREAM_LOG_LEVEL=error"}
	for i := range 3 {
		wantShell(t, "", env, fmt.Sprintf("8\n1\n%d\nok", i+1), ".load "+cksumvfs, ".open file:app.db?vfs=cksmvfs", ".filectrl reserve_bytes 8",
			"CREATE TABLE IF NOT EXISTS t (v);", "PRAGMA checksum_verification;", "INSERT INTO t SELECT hex(randomblob(10000));",
			"SELECT count(*) FROM t;", "PRAGMA integrity_check;")
	}
	wantShell(t, "", env, "3\nok\n2\n1", ".load "+cksumvfs, ".open file:app.db?vfs=cksmvfs&mode=ro", "SELECT count(*) FROM t;", "PRAGMA integrity_check;",
		"PRAGMA litestream_txid = '0000000000000002';", "SELECT count(*) FROM t;", "PRAGMA checksum_verification;")
}
