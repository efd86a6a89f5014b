package livefile

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// The test binary is a program that writes to a database if this variable has the
// path, a seed and a journal mode.
const writerVariable = "LIVEFILE_TEST_WRITER"

func TestMain(m *testing.M) {
	if args := os.Getenv(writerVariable); args != "" {
		fields := strings.Fields(args)
		seed, err := strconv.ParseUint(fields[1], 10, 64)
		if err == nil {
			err = write(fields[0], fields[2], rand.New(rand.NewPCG(seed, 0)))
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A database of the writer is consistent if consistent returns 1: each transaction
// keeps what total has of t.
const (
	writerSchema = "CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB, n INTEGER); CREATE INDEX t_n ON t (n);" +
		"CREATE TABLE total (commits, rows, sum); INSERT INTO total VALUES (0, 0, 0)"
	keepTotal  = "UPDATE total SET commits = commits + 1, rows = (SELECT count(*) FROM t), sum = (SELECT sum(n * length(x)) FROM t)"
	consistent = "SELECT rows = (SELECT count(*) FROM t) AND sum IS (SELECT sum(n * length(x)) FROM t) FROM total"
)

// changes are what transactions do.
var changes = []string{
	"INSERT INTO t (x, n) SELECT randomblob(abs(random()) % 3000), abs(random()) % 1000 FROM json_each('[1,2,3,4,5,6,7,8]')",
	"UPDATE t SET x = randomblob(length(x)), n = abs(random()) % 1000 WHERE id % 20 = abs(random()) % 20",
	"UPDATE t SET n = n + 1",
	"DELETE FROM t WHERE id > (SELECT max(id) FROM t) - 30 AND id > 100",
	"DELETE FROM t WHERE id % 9 = abs(random()) % 9 AND id > 100",
}

// write writes to a database until it is killed, and prints a line after each commit.
func write(path, mode string, rng *rand.Rand) error {
	for {
		if err := writeOnce(path, mode, 20+rng.IntN(200), rng); err != nil {
			return err
		}
	}
}

// writeOnce writes some transactions on a connection of its own, which may be the
// last one to close the database.
func writeOnce(path, mode string, transactions int, rng *rand.Rand) (err error) {
	ctx := context.Background()
	db, err := sqlitetest.Open("file:" + path)
	if err != nil {
		return err
	}
	defer db.Close()
	writer, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer writer.Close()
	reader, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	exec := func(conn *sql.Conn, statements ...string) {
		for _, stmt := range statements {
			if _, execErr := conn.ExecContext(ctx, stmt); execErr != nil && err == nil {
				err = fmt.Errorf("%s: %w", stmt, execErr)
			}
		}
	}
	exec(reader, "PRAGMA busy_timeout = 60000")
	exec(writer, "PRAGMA busy_timeout = 60000", "PRAGMA journal_mode = "+mode, "PRAGMA synchronous = OFF",
		"PRAGMA cache_size = "+strconv.Itoa(5+rng.IntN(50)), "PRAGMA wal_autocheckpoint = "+strconv.Itoa(rng.IntN(3)*20))
	reading := false
	for range transactions {
		if mode == "wal" && rng.IntN(4) == 0 {
			// A reader with a mark of its own.
			if reading = !reading; reading {
				exec(reader, "BEGIN", "SELECT count(*) FROM t")
			} else {
				exec(reader, "COMMIT")
			}
		}
		exec(writer, "BEGIN IMMEDIATE")
		for range 1 + rng.IntN(3) {
			exec(writer, changes[rng.IntN(len(changes))])
		}
		if rng.IntN(8) == 0 {
			exec(writer, "ROLLBACK")
			continue
		}
		exec(writer, keepTotal, "COMMIT")
		if err != nil {
			return err
		}
		fmt.Println("committed")
		if kind := rng.IntN(10); mode == "wal" && kind < 4 {
			// The other reader may be in the way, and then this is no error.
			exec(writer, "PRAGMA busy_timeout = 5", "PRAGMA wal_checkpoint("+[]string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[kind]+")",
				"PRAGMA busy_timeout = 60000")
		}
		if err != nil {
			return err
		}
	}
	if reading {
		exec(reader, "COMMIT")
	}
	return err
}

// writerProcess is another process that writes to a database.
type writerProcess struct {
	t   testing.TB
	cmd *exec.Cmd

	mu      sync.Mutex // guards the fields below
	commits int
	changed chan struct{} // closed at the next commit
}

// startWriter starts a writer until the test ends.
func startWriter(t testing.TB, path, mode string, seed uint64) *writerProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := &writerProcess{t: t, cmd: exec.Command(self), changed: make(chan struct{})}
	w.cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", writerVariable, path, seed, mode))
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.count(out)
	}()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		<-done
		_ = w.cmd.Wait() // it was killed
	})
	return w
}

func (w *writerProcess) count(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		w.mu.Lock()
		w.commits++
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
	}
}

// wait waits for n commits.
func (w *writerProcess) wait(n int) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	w.mu.Lock()
	defer w.mu.Unlock()
	for until := w.commits + n; w.commits < until; {
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-deadline:
			w.mu.Lock()
			w.t.Fatalf("the writer has made %d commits, and makes no more", w.commits)
		}
		w.mu.Lock()
	}
}

// newDatabase makes a database that a writer can write to.
func newDatabase(t testing.TB, path string, pragmas ...string) {
	t.Helper()
	db, err := sqlitetest.Open("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	fill := "WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 150) INSERT INTO t SELECT i, randomblob(1000), i FROM n"
	for _, stmt := range append(pragmas, writerSchema, fill, keepTotal) {
		if _, err := db.Exec(stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
}

// checkDatabase returns an error if a file is no state that a writer has committed.
func checkDatabase(path string) error {
	db, err := sqlitetest.Open("file:" + path)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, tt := range []struct{ query, want string }{{"PRAGMA integrity_check", "ok"}, {consistent, "1"}} {
		var got string
		if err := db.QueryRow(tt.query).Scan(&got); err != nil || got != tt.want {
			return fmt.Errorf("%s: %s, %v", tt.query, got, err)
		}
	}
	return nil
}
