//go:build unix

package main_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/storetest"
)

// ratings is the number of rows that the servers of examples/servers count.
const ratings = 4988

const serverWorkers = 4

// TestServers runs web servers of many processes. All workers answer from one copy, also
// after the worker that owns it was killed.
func TestServers(t *testing.T) {
	here := absolute(t, "examples", "servers")
	for _, s := range []struct {
		name    string
		command func(t *testing.T, port string) (argv, env []string)
	}{
		{"gunicorn", func(t *testing.T, port string) (argv, env []string) {
			return []string{client(t, "LITESTREAM_TEST_GUNICORN"), "-c", "gunicorn.conf.py", "--bind", "127.0.0.1:" + port, "ratings:app"}, pythonPackage(t)
		}},
		{"gunicorn with preload", func(t *testing.T, port string) (argv, env []string) {
			return []string{client(t, "LITESTREAM_TEST_GUNICORN"), "-c", "gunicorn.conf.py", "--preload", "--bind", "127.0.0.1:" + port, "ratings:app"}, pythonPackage(t)
		}},
		{"puma", func(t *testing.T, port string) (argv, env []string) {
			return []string{client(t, "LITESTREAM_TEST_PUMA"), "-C", "puma.rb", "--bind", "tcp://127.0.0.1:" + port, "config.ru"}, rubyPackage(t)
		}},
		{"cluster of Node.js", func(t *testing.T, port string) (argv, env []string) {
			return []string{client(t, "LITESTREAM_TEST_NODE"), "--no-warnings", "cluster.js"}, append(nodePackage(t), "PORT="+port)
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			argv, env := s.command(t, port)
			copied := filepath.Join(t.TempDir(), "ratings.copy")
			url, read := ratingsStore(t)
			w := startServer(t, here, port, argv, append(env, "LITESTREAM_REPLICA_URL="+url, "RATINGS_COPY="+copied,
				"AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret", "LITESTREAM_LOG_LEVEL=warn"))

			owner := w.settle(t, copied, 0)
			one := read()
			kill(t, owner)
			next := w.settle(t, copied, owner)
			t.Logf("%d bytes from storage, %d after the kill; %d owned the copy, and then %d", one, read()-one, owner, next)
		})
	}
}

// kill kills a worker, and waits until the server has noticed.
func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("worker %d was killed 30 seconds ago, and the server has not noticed", pid)
		}
	}
}

// answer is what the servers reply.
type answer struct {
	PID       int
	Count     int
	Hydration struct {
		Status, File string
		Progress     float64
		Owner        int
		Bytes        int64
	}
}

// server is a web server that runs.
type server struct {
	url string
	log *bytes.Buffer // read once the server has ended
}

func startServer(t *testing.T, dir, port string, argv, env []string) *server {
	t.Helper()
	w := &server{"http://127.0.0.1:" + port, new(bytes.Buffer)}
	cmd := command(t, env, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, w.log, w.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(20*time.Second, func() {
			t.Error("the server does not end")
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		})
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Error(err)
		}
		timer.Stop()
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // workers, if there are any left
		if t.Failed() {
			t.Logf("%s", w.log)
		}
	})
	return w
}

// settle asks until all workers are there, without one that was killed, and read from
// one complete copy, of which it returns the owner. Every answer must be right.
func (w *server) settle(t *testing.T, copied string, killed int) (owner int) {
	t.Helper()
	workers := make(map[int]answer)
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the workers do not share one complete copy: %+v", workers)
		}
		a, ok := w.ask(t)
		if !ok || a.PID == killed {
			continue
		}
		if a.Count != ratings {
			t.Fatalf("%d rows, want %d: %+v", a.Count, ratings, a)
		}
		workers[a.PID] = a
		if owner, ok := ownerOf(t, workers, copied); ok {
			return owner
		}
	}
}

// ownerOf returns the worker that owns the copy, if all have said that they read from it.
func ownerOf(t *testing.T, workers map[int]answer, copied string) (owner int, ok bool) {
	t.Helper()
	for pid, a := range workers {
		h := a.Hydration
		if h.Status != "complete" || h.Progress != 100 {
			return 0, false
		}
		if h.File != copied {
			t.Fatalf("worker %d has a copy of its own: %+v", pid, a)
		}
		owns := cmp.Or(h.Owner, pid)
		if owner != 0 && owns != owner {
			return 0, false
		}
		owner = owns
	}
	if len(workers) < serverWorkers {
		return 0, false
	}
	if len(workers) > serverWorkers {
		t.Fatalf("%d workers: %+v", len(workers), workers)
	}
	for pid, a := range workers {
		if pid != owner && a.Hydration.Bytes > 0 {
			t.Fatalf("worker %d has read %d bytes for the copy of worker %d", pid, a.Hydration.Bytes, owner)
		}
	}
	return owner, true
}

// ask asks once. There is no answer while the server begins, and none of a worker that is
// killed meanwhile. The primary process of Node.js loses a connection for good that it
// gives to such a worker.
func (w *server) ask(t *testing.T) (a answer, ok bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true // so that another worker may answer the next one
	r, err := (&http.Client{Timeout: 5 * time.Second}).Do(request)
	if err != nil {
		return a, false
	}
	defer r.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		return a, false
	}
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", r.Status, &body)
	}
	if err := json.Unmarshal(body.Bytes(), &a); err != nil {
		t.Fatalf("%s: %v", &body, err)
	}
	return a, true
}

// ratingsStore starts an S3 server with the replica of the ratings. It returns the URL
// of the replica, and a function for the bytes that were read.
func ratingsStore(t *testing.T) (url string, read func() int64) {
	t.Helper()
	root := absolute(t, "testdata", "replicas", "sandwiches", "ltx")
	objects := make(map[string][]byte)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		level, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return err
		}
		objects[fmt.Sprintf("ratings/%04x/%s", level, entry.Name())], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	service := storetest.NewS3()
	service.Set(objects)
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		service.ServeHTTP(countingWriter{w, &n}, r)
	}))
	t.Cleanup(s.Close)
	return "s3://" + storetest.Bucket + "/ratings?endpoint=" + s.URL, n.Load
}

// countingWriter counts the bytes of answers.
type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// freePort returns a port that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// The packages look for the library beside themselves. Each of these functions lays one
// out as an install does, and returns the variables with which a program finds it.

func pythonPackage(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	layOut(t, filepath.Join(dir, "litestream_vfs"), absolute(t, "packages", "python", "src", "litestream_vfs"), "")
	return []string{"PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1"}
}

func rubyPackage(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	layOut(t, filepath.Join(dir, "lib"), absolute(t, "packages", "ruby", "lib"), "litestream_vfs")
	version, err := os.ReadFile(absolute(t, "packages", "VERSION"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "VERSION"), version, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return []string{"RUBYLIB=" + filepath.Join(dir, "lib")}
}

func nodePackage(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	arch := strings.ReplaceAll(runtime.GOARCH, "amd64", "x64")
	layOut(t, filepath.Join(dir, "@ltxvfs", "litestream-vfs"), absolute(t, "packages", "node"), filepath.Join("lib", runtime.GOOS+"-"+arch))
	return []string{"NODE_PATH=" + dir + ":" + filepath.Join(client(t, "LITESTREAM_TEST_NODE_MODULES"), "node_modules")}
}

// layOut copies a package, and puts the library in a folder of it.
func layOut(t *testing.T, to, from, folder string) {
	t.Helper()
	library := extension(t)
	at := filepath.Join(to, folder)
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.CopyFS(to, os.DirFS(from)), os.MkdirAll(at, 0o700),
		os.Symlink(library, filepath.Join(at, filepath.Base(library)))); err != nil {
		t.Fatal(err)
	}
}
