package main_test

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream/internal/storetest"
)

// hangingS3 returns the URL of the replica sandwiches in a bucket, the environment
// for it, and a switch that makes the store stop answering.
func hangingS3(t *testing.T) (url string, env []string, hangs *atomic.Bool) {
	t.Helper()
	root := os.DirFS(filepath.Join("..", "..", "testdata", "replicas", "sandwiches", "ltx"))
	bodies := map[string][]byte{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		level, err := strconv.Atoi(path.Dir(name))
		if err != nil {
			return err
		}
		bodies[fmt.Sprintf("db/%04x/%s", level, path.Base(name))], err = fs.ReadFile(root, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	service := storetest.NewS3()
	service.Set(bodies)
	hangs = new(atomic.Bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			<-r.Context().Done()
			return
		}
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return fmt.Sprintf("s3://%s/db?endpoint=%s&region=us-east-1&forcePathStyle=true", storetest.Bucket, server.URL),
		[]string{"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret"}, hangs
}

// TestInterrupt interrupts queries by sqlite3_interrupt while storage hangs.
func TestInterrupt(t *testing.T) {
	program := build(t, "interrupt.c")
	for _, tt := range []struct{ name, query, want string }{
		{"table", "SELECT count(*) FROM sandwich_ratings NOT INDEXED WHERE rowid > 1", "4987"},
		{"changes", "SELECT count(*) FROM litestream_changes('sandwich_ratings', '2026-03-14 11:59:49')", "3994"},
	} {
		t.Run(tt.name, func(t *testing.T) { interrupts(t, program, tt.query, tt.want) })
	}
}

// interrupts interrupts a query twice: while it reads the schema, and while it reads
// rows. It works on the connection afterwards.
func interrupts(t *testing.T, program, query, want string) {
	url, env, hangs := hangingS3(t)
	env = append(env, replicaURL+url, "LITESTREAM_CACHE_SIZE=-1", "LITESTREAM_READ_AHEAD_SIZE=-1", "LITESTREAM_POLL_INTERVAL=-1s", "LITESTREAM_LOG_FILE="+os.DevNull)
	cmd := command(t, env, program, extension(t), "file:app.db?vfs=litestream", query)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	line := func() string {
		if !lines.Scan() {
			t.Fatalf("the program ended: %v\n%s", lines.Err(), errs.String())
		}
		return lines.Text()
	}
	next := func(hang bool) string {
		hangs.Store(hang)
		if _, err := io.WriteString(in, "\n"); err != nil {
			t.Fatal(err)
		}
		return line()
	}
	if got := line(); got != "open" {
		t.Fatal(got)
	}
	for _, what := range []string{"schema", "rows"} {
		var code int
		var took float64
		var text string
		got := next(true)
		t.Logf("%s: %s", what, got)
		if _, err := fmt.Sscanf(got, "%d %f %s", &code, &took, &text); err != nil {
			t.Fatal(err)
		}
		// The limit for a read is 30 s.
		if code != 9 || text != "interrupted" || took < 0.5 || took > 10 {
			t.Errorf("%s: %s", what, got)
		}
		if got := strings.Fields(next(false)); got[0] != "100" || got[2] != want {
			t.Errorf("%s: afterwards %q", what, got)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, errs.String())
	}
}
