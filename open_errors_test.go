package litestream_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testlog"
)

var errDown = errors.New("storage is down")

// TestOpen_StorageDown checks that an open fails within OpenTimeout while
// storage is down, and succeeds afterwards.
func TestOpen_StorageDown(t *testing.T) {
	for _, c := range []struct {
		name   string
		rule   decorate.Rule
		reason string
		atOnce bool // not retried until OpenTimeout
	}{
		{"down", decorate.Rule{Err: errDown}, errDown.Error(), false},
		{"hangs", decorate.Rule{Hang: true}, "deadline exceeded", false},
		{"reads fail", decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: errDown}, errDown.Error(), false},
		{"reads hang", decorate.Rule{Match: decorate.Ops(decorate.OpRead), Hang: true, At: decorate.InBody, N: 10}, "deadline exceeded", false},
		{"listing breaks", decorate.Rule{Match: decorate.Ops(decorate.OpList, decorate.OpListAll), Err: errDown, At: decorate.InBody}, errDown.Error(), false},
		{"forbidden", decorate.Rule{Err: fs.ErrPermission}, fs.ErrPermission.Error(), true},
		{"listed files are missing", decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: fs.ErrNotExist}, fs.ErrNotExist.Error(), true},
		{"reads forbidden", decorate.Rule{Match: decorate.Ops(decorate.OpRead), Err: fs.ErrPermission}, fs.ErrPermission.Error(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := memoryClient()
			numberedReplica(t, client, 1)
			fault := decorate.NewFault(client)
			timeout := 300 * time.Millisecond
			if c.atOnce {
				timeout = 15 * time.Second
			}
			var log testlog.Buffer
			vfsName, vfs := newVFS(t, fault, &litestream.Options{OpenTimeout: timeout, Logger: testlog.New(t, &log)})
			remove := fault.Add(c.rule)
			start := time.Now()
			for range 2 {
				failsToOpen(t, vfsName, "app.db", &log, c.reason)
			}
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("took %s", d)
			}
			if n := len(vfs.Stats()); n != 0 {
				t.Errorf("%d databases", n)
			}
			remove()
			db := openDB(t, vfsName, "app.db")
			waitFor(t, "the database to open", func() bool { return result(db, "SELECT n FROM t") == "1" })
		})
	}
}

// TestOpen_ReasonOutlivesTimeout cuts the last attempt off. The log still says
// why the attempts before it failed.
func TestOpen_ReasonOutlivesTimeout(t *testing.T) {
	fault := decorate.NewFault(memoryClient())
	fault.FailCall(1, errDown)
	fault.Add(decorate.Rule{Hang: true})
	var log testlog.Buffer
	vfsName, _ := newVFS(t, fault, &litestream.Options{OpenTimeout: time.Second, Logger: testlog.New(t, &log)})
	failsToOpen(t, vfsName, "app.db", &log, errDown.Error())
	if want := "deadline exceeded"; !strings.Contains(log.String(), want) {
		t.Errorf("the log does not say %q", want)
	}
}

// TestOpen_FirstFailure has storage that is down. The log says so long before the
// open fails, with the place and the cause: the first failed request is a warning,
// and the others are details.
func TestOpen_FirstFailure(t *testing.T) {
	dir := t.TempDir()
	numberedReplica(t, file.NewReplicaClient(dir), 1)
	synctest.Test(t, func(t *testing.T) {
		client := file.NewReplicaClient(dir)
		fault := decorate.NewFault(client)
		remove := fault.Add(decorate.Rule{Err: errDown})
		var log testlog.Buffer
		vfs := litestream.NewVFS(fault, &litestream.Options{PollInterval: -1, Logger: testlog.New(t, &log)})
		start := time.Now()
		failed := make(chan error)
		go func() {
			_, err := vfs.OpenConn("app.db", nil, litestream.OpenMode{})
			failed <- err
		}()
		synctest.Wait()
		if s := log.String(); time.Since(start) != 0 || strings.Count(s, "level=WARN") != 1 || !strings.Contains(s, errDown.Error()) || !strings.Contains(s, client.ReplicaIdentity()) {
			t.Errorf("after %v the log is: %s", time.Since(start), s)
		}
		if err := <-failed; !errors.Is(err, errDown) || time.Since(start) != litestream.DefaultOpenTimeout {
			t.Errorf("the open fails after %v: %v", time.Since(start), err)
		}
		if s := log.String(); strings.Count(s, "level=WARN") != 1 || strings.Count(s, "level=DEBUG") < 100 { // ten listings, fifteen times each
			t.Errorf("%d warnings, %d details", strings.Count(s, "level=WARN"), strings.Count(s, "level=DEBUG"))
		}

		// A context that ends the wait for the open says what went wrong so far.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := vfs.Health(ctx, "app.db"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errDown) {
			t.Errorf("error is %v, want DeadlineExceeded and why", err)
		}

		// Failures after the open are those of other operations.
		remove()
		conn, err := vfs.OpenConn("app.db", nil, litestream.OpenMode{})
		if err != nil {
			t.Fatal(err)
		}
		fault.Add(decorate.Rule{Err: errDown})
		before := strings.Count(log.String(), "a request of the open failed")
		if _, err := conn.Pragma("litestream_history", nil); err == nil {
			t.Error("storage is not down")
		}
		if n := strings.Count(log.String(), "a request of the open failed"); n != before {
			t.Errorf("%d requests of the open fail after it", n-before)
		}
		_ = conn.Close()
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestOpen_Transient makes each call of an open fail once. The call is retried.
func TestOpen_Transient(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	for k := 1; ; k++ {
		fault := decorate.NewFault(client)
		fault.FailCall(k, errDown)
		vfsName, _ := newVFS(t, fault, &litestream.Options{PollInterval: -1})
		conn := openConn(t, vfsName, "app.db")
		if got := at(t, conn); got != "1" {
			t.Errorf("call %d: reads %s", k, got)
		}
		if fault.Faults() == 0 {
			if k < 3 {
				t.Errorf("only %d calls", k-1)
			}
			return
		}
		if s := status(t, conn); s.Retries != 1 {
			t.Errorf("call %d: %d retries", k, s.Retries)
		}
	}
}

// TestOpen_Empty checks that an open fails while the replica is empty, and
// succeeds once the primary has written to it.
func TestOpen_Empty(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	client := file.NewReplicaClient(dir)
	var log testlog.Buffer
	vfsName, _ := newVFS(t, client, &litestream.Options{WaitForReplica: -1, Logger: testlog.New(t, &log)})
	failsToOpen(t, vfsName, "app.db", &log, litestream.ErrNoDatabase.Error())
	if exists(dir) {
		t.Error("to open for reading creates a folder")
	}
	numberedReplica(t, client, 1)
	if got := at(t, openConn(t, vfsName, "app.db")); got != "1" {
		t.Errorf("reads %s", got)
	}
}

// TestOpen_CloseCancels checks that VFS.Close ends opens that hang.
func TestOpen_CloseCancels(t *testing.T) {
	fault := decorate.NewFault(memoryClient())
	hanging := make(chan struct{}, 64)
	fault.Add(decorate.Rule{Hang: true, Before: func(decorate.Call) { hanging <- struct{}{} }})
	vfsName, vfs := newVFS(t, fault, &litestream.Options{OpenTimeout: -1})
	errs := make(chan error)
	for range 3 {
		db := openDB(t, vfsName, "app.db")
		go func() { errs <- db.Ping() }()
	}
	<-hanging
	if err := vfs.Close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
	for range 3 {
		if err := <-errs; err == nil || sqliteCode(t, err) != litestream.CodeCantOpen {
			t.Errorf("open: %v, want SQLITE_CANTOPEN", err)
		}
	}
	if err := openDB(t, vfsName, "app.db").Ping(); err == nil {
		t.Error("a closed VFS opens a database")
	}
}

// TestOpen_ClosedVFS checks that connections that are still open get an error
// and no crash after VFS.Close, and that closing again is harmless.
func TestOpen_ClosedVFS(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	var log testlog.Buffer
	vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: time.Millisecond, Logger: testlog.New(t, &log)})
	conn := openConn(t, vfsName, "app.db")
	at(t, conn)
	for range 2 {
		if err := vfs.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
		wantCode(t, conn, "SELECT n FROM t", litestream.CodeIOErr)
		wantCode(t, conn, "PRAGMA litestream_history", litestream.CodeIOErr)
	}
	if e := status(t, conn).LastError; e == nil || e.Text == "" {
		t.Errorf("last error is %v", e)
	}
	failsToOpen(t, vfsName, "app.db", &log, litestream.ErrClosed.Error())
}

// TestOpen_FailureDisturbsNobody runs in its own process, where the replica is
// the first file that is opened: sqlite3vfs would close that file when xOpen
// fails.
func TestOpen_FailureDisturbsNobody(t *testing.T) {
	const child = "LITESTREAM_TEST_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOpen_FailureDisturbsNobody$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		return
	}
	good, bad := memoryClient(), decorate.NewFault(memoryClient())
	numberedReplica(t, good, 1)
	bad.Add(decorate.Rule{Err: fs.ErrPermission})
	var log testlog.Buffer
	vfsName, _ := newVFS(t, nil, &litestream.Options{
		Logger: testlog.New(t, &log),
		NewClient: func(name string) (litestream.ReplicaClient, error) {
			switch name {
			case "good.db":
				return good, nil
			case "bad.db":
				return bad, nil
			case "none.db":
				return nil, errors.New("no client")
			}
			return nil, nil
		},
	})
	conn := openConn(t, vfsName, "good.db")
	at(t, conn)
	missing := filepath.Join(t.TempDir(), "no", "local.db")
	for i := range 3 {
		failsToOpen(t, vfsName, "bad.db", &log, fs.ErrPermission.Error())
		failsToOpen(t, vfsName, "none.db", &log, "no client")
		failsToOpen(t, vfsName, "good.db", &log, "parameter cache_size", "cache_size=x")
		if psanford {
			failsToOpen(t, vfsName, missing, &log, "CantOpen")
		} else {
			failsToOpen(t, vfsName, missing, &log, "") // SQLite opens local files itself
		}
		for _, name := range []string{"bad.db", "none.db", missing} {
			wantCode(t, conn, "ATTACH '"+name+"' AS x", litestream.CodeCantOpen)
			wantCode(t, conn, "SELECT * FROM x.t", litestream.CodeError)
		}
		wantCode(t, conn, "VACUUM INTO '"+missing+"'", litestream.CodeCantOpen)
		mustExec(t, conn, fmt.Sprintf("CREATE TEMP TABLE temp%d AS SELECT * FROM t", i))
		mustExec(t, conn, "PRAGMA litestream_time = 'now'")
		if got := at(t, conn); got != "1" {
			t.Errorf("reads %s", got)
		}
	}
}
