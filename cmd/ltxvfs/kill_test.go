package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/ltxvfs/litestream/internal/storetest"
)

// program runs the program in a process.
type program struct {
	t           testing.TB
	path        string // of the program
	dir         string // in which it runs
	temporary   string // its folder for temporary files
	environment []string
}

func newProgram(t testing.TB, environment []string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, path: filepath.Join(t.TempDir(), "ltxvfs"), dir: t.TempDir(), temporary: t.TempDir()}
	p.environment = append(append(os.Environ(), environment...), "LITESTREAM_REPLICA_URL=", "TMPDIR="+p.temporary)
	if err := os.Symlink(self, p.path); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, args...)
	cmd.Dir, cmd.Env = p.dir, p.environment
	return cmd
}

// run runs a command that must succeed.
func (p *program) run(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("ltxvfs %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// gate is a server that calls a function at a request, which it then does not
// answer.
type gate struct {
	http.Handler
	method string       // empty: any
	at     atomic.Int64 // number of the request from now on, 0: none
	act    func()
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if (g.method == "" || r.Method == g.method) && !strings.Contains(r.URL.RawQuery, "list-type") && g.at.Add(-1) == 0 {
		g.act()
		_, _ = io.Copy(io.Discard, r.Body) // the server notices only then that the client is gone
		<-r.Context().Done()
		return
	}
	g.Handler.ServeHTTP(w, r)
}

// runUntil runs a command that gets a signal at its request number k.
func (g *gate) runUntil(cmd *exec.Cmd, k int64, sig os.Signal) error {
	started := make(chan struct{})
	g.act = func() {
		<-started
		_ = cmd.Process.Signal(sig) // the command tells that it got none
	}
	g.at.Store(k)
	if err := cmd.Start(); err != nil {
		return err
	}
	close(started)
	return cmd.Wait()
}

// newDatabase makes a local database of some megabytes that cannot be compressed.
func newDatabase(t testing.TB, path string) {
	t.Helper()
	conn, err := sqlite3.Open(path)
	if err == nil {
		err = errors.Join(conn.Exec("CREATE TABLE t (x); WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 12) INSERT INTO t SELECT randomblob(1000000) FROM n"), conn.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// startGate starts an S3 server with a gate.
func startGate(t testing.TB, method string) (*gate, []string) {
	t.Helper()
	service := storetest.NewS3()
	service.Set(nil)
	g := &gate{Handler: service, method: method}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return g, environmentOf(server.URL)
}

// A restore that is interrupted or killed at any of its reads leaves no file at the
// path. The same command then restores the database.
func TestRestore_Killed(t *testing.T) {
	g, environment := startGate(t, http.MethodGet)
	p := newProgram(t, environment)
	newDatabase(t, filepath.Join(p.dir, "source.db"))
	p.run("import", "source.db", "s3://bucket/app.db")
	p.run("restore", "s3://bucket/app.db", "whole.db")
	want := sumOf(t, filepath.Join(p.dir, "whole.db"))
	step := int64(1)
	if testing.Short() {
		step = 3 // an odd number, so that both signals are sent
	}
	for k := int64(1); ; k += step {
		path := filepath.Join(p.dir, "app.db")
		cmd := p.command("restore", "s3://bucket/app.db", "app.db", "--concurrency", "1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		sig := []os.Signal{os.Kill, os.Interrupt}[k%2]
		err := g.runUntil(cmd, k, sig)
		if g.at.Load() > 0 {
			if k < 5 || err != nil {
				t.Fatalf("a restore makes %d reads, and ends with %v", k-1, err)
			}
			return
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("read %d, %s: the file exists", k, sig)
		}
		if sig == os.Interrupt && (cmd.ProcessState.ExitCode() != exitInterrupted || !strings.Contains(stderr.String(), "ltxvfs: interrupted\n")) {
			t.Errorf("read %d: exit code %d, %s", k, cmd.ProcessState.ExitCode(), stderr.String())
		}
		g.at.Store(0)
		p.run("restore", "s3://bucket/app.db", "app.db")
		if sumOf(t, path) != want {
			t.Fatalf("read %d, %s: restored another database", k, sig)
		}
		if found, _ := filepath.Glob(path + "*"); len(found) != 1 {
			t.Errorf("read %d, %s: left %v", k, sig, found)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// An import that is interrupted leaves neither a replica nor temporary files. One
// that is killed leaves no replica.
func TestImport_Killed(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, os.Kill} {
		g, environment := startGate(t, http.MethodPut)
		p := newProgram(t, environment)
		newDatabase(t, filepath.Join(p.dir, "source.db"))
		cmd := p.command("import", "source.db", "s3://bucket/app.db")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := g.runUntil(cmd, 1, sig); err == nil {
			t.Fatalf("%s: the import succeeded: %s", sig, &out)
		}
		if sig == os.Interrupt && cmd.ProcessState.ExitCode() != exitInterrupted {
			t.Errorf("exit code %d", cmd.ProcessState.ExitCode())
		}
		if left, err := os.ReadDir(p.temporary); sig == os.Interrupt && (err != nil || len(left) > 0) {
			t.Errorf("%s: left %v, %v", sig, left, err)
		}
		p.run("import", "source.db", "s3://bucket/app.db")
		p.run("verify", "s3://bucket/app.db")
	}
}

func sumOf(t testing.TB, path string) [sha256.Size]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// A database that a program writes to is imported as it was after one of its
// transactions, in both journal modes.
func TestImport_Live(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			p := newProgram(t, nil)
			path := filepath.Join(p.dir, "live.db")
			conn, err := sqlite3.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			err = conn.Exec("PRAGMA journal_mode = " + mode + "; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 60000; PRAGMA wal_autocheckpoint = 50;" +
				"CREATE TABLE a (id INTEGER PRIMARY KEY, x); CREATE TABLE b (id INTEGER PRIMARY KEY, x);" +
				"WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO a SELECT i, randomblob(1000) FROM n; INSERT INTO b SELECT * FROM a")
			if err != nil {
				t.Fatal(err)
			}
			imported := make(chan struct{})
			var out []byte
			go func() {
				defer close(imported)
				out, err = p.command("import", "live.db", "file:replica").CombinedOutput()
			}()
			commits := 0
			for open := true; open; commits++ {
				select {
				case <-imported:
					open = false
				default:
				}
				// Both tables are the same after each transaction, and at no other time.
				if err := conn.Exec("BEGIN IMMEDIATE; UPDATE a SET x = randomblob(900) WHERE id % 50 = abs(random()) % 50; REPLACE INTO b SELECT * FROM a; COMMIT"); err != nil {
					t.Error(err)
					break
				}
			}
			<-imported
			if err := errors.Join(err, conn.Close()); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			got := p.run("query", "-q", "-o", "csv", "file:replica", "SELECT count(*) FROM (SELECT * FROM a EXCEPT SELECT * FROM b); PRAGMA integrity_check; SELECT count(*) FROM b")
			if got != "count(*)\n0\nintegrity_check\nok\ncount(*)\n2000\n" {
				t.Errorf("after %d commits, the replica has\n%s", commits, got)
			}
			if restored := p.run("restore", "-q", "file:replica", "restored.db", "--integrity-check"); !strings.Contains(restored, "integrity_check: ok") {
				t.Error(restored)
			}
		})
	}
}
