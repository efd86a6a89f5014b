//go:build darwin || freebsd || linux

package litestream_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/vfstest"
)

// These are the ways in which a program shuts down.
const (
	closeVFSFirst = "vfs first"
	closeDBFirst  = "database first"
	closeOpened   = "database of litestream.Open"
)

// shutdownLimit is the time that a program has between SIGTERM and its end.
const shutdownLimit = 10 * time.Second

// TestShutdown_Signal sends SIGTERM to programs whose storage is down, and which
// have a commit that is not on the replica. They end within their limit of 10s, and
// say where the commit is kept.
func TestShutdown_Signal(t *testing.T) {
	const child = "LITESTREAM_TEST_SHUTDOWN"
	if task := os.Getenv(child); task != "" {
		parts := strings.SplitN(task, ",", 3)
		shutdownChild(t, parts[0], parts[1], parts[2])
		return
	}
	kept := regexp.MustCompile(`kept in (\S+), which`)
	for _, way := range []string{closeVFSFirst, closeDBFirst, closeOpened} {
		for _, store := range []string{"fails", "hangs"} {
			t.Run(way+", storage "+store, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				cmd := exec.Command(os.Args[0], "-test.run=^TestShutdown_Signal$")
				cmd.Env = append(os.Environ(), child+"="+way+","+store+","+dir, "TMPDIR="+t.TempDir())
				cmd.Stderr = t.Output()
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewReader(stdout)
				if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
					t.Fatalf("%q, %v", line, err)
				}
				start := time.Now()
				if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				rest, err := io.ReadAll(lines)
				if err := errors.Join(err, cmd.Wait()); err != nil {
					t.Errorf("%v: %s", err, rest)
				}
				if took := time.Since(start); took > shutdownLimit {
					t.Errorf("the program ends after %v", took)
				} else {
					t.Logf("the program ends after %v: %s", took, rest)
				}
				path := kept.FindSubmatch(rest)
				if path == nil {
					t.Fatalf("it does not say where the commit is kept: %s", rest)
				}
				vfsName, _ := newVFS(t, file.NewReplicaClient(dir), &litestream.Options{WriteEnabled: true, WriteBufferPath: string(path[1]), PollInterval: -1})
				if got := result(openDB(t, vfsName, "app.db"), "SELECT group_concat(n) FROM t"); got != "1,2" {
					t.Errorf("the next process reads %q", got)
				}
			})
		}
	}
}

// shutdownChild is the program. It ends the process.
func shutdownChild(t *testing.T, way, store, dir string) {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fault, url := newFaulty(t, file.NewReplicaClient(dir))
	opts := &litestream.Options{WriteEnabled: true, PollInterval: -1}
	var db *sql.DB
	var err error
	closeAll := func() error { return db.Close() }
	if way == closeOpened {
		db, err = openReplica(url, opts)
	} else {
		vfsName, vfs := newVFSOnly(t, fault, opts)
		db, err = vfstest.Open(dsn(vfsName, "app.db"))
		closeAll = func() error {
			if way == closeDBFirst {
				err := db.Close()
				ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit/2)
				defer cancel()
				return errors.Join(vfs.Close(ctx), err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit/5)
			defer cancel()
			return errors.Join(vfs.Close(ctx), db.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE t (n); INSERT INTO t VALUES (1)")
	mustExec(t, db, "SELECT litestream_sync()")
	rule := decorate.Rule{Err: errDown}
	if store == "hangs" {
		rule = decorate.Rule{Hang: true}
	}
	fault.Add(rule)
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	fmt.Println("ready")
	<-term
	start := time.Now()
	err = closeAll()
	fmt.Printf("closed after %v: %v\n", time.Since(start), err)
	os.Exit(0)
}
