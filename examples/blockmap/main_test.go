package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

const childVariable = "BLOCKMAP_CHILD"

// TestMain lets the test binary run the program itself, so that a test can kill
// it.
func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// process is a running program.
type process struct {
	cmd  *exec.Cmd
	url  string
	log  *bytes.Buffer // may be read after the process has ended
	http *http.Client
	once sync.Once
	err  error // result of Wait
}

// start starts the program and returns when it serves requests.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0], args...), log: new(bytes.Buffer), http: &http.Client{Timeout: time.Minute, Transport: new(http.Transport)}}
	p.cmd.Env = append(os.Environ(), childVariable+"=1")
	p.cmd.Stderr = p.log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.end(syscall.SIGKILL)
		if log := p.log.String(); strings.Contains(log, "DATA RACE") || strings.Contains(log, "level=ERROR") {
			t.Errorf("the program says:\n%s", log)
		}
	})
	lines := bufio.NewScanner(stdout)
	if lines.Scan() {
		p.url = lines.Text()
	}
	if !strings.HasPrefix(p.url, "http://127.0.0.1:") {
		t.Fatalf("the program says %q, and ends: %v\n%s", p.url, p.end(syscall.SIGKILL), p.log)
	}
	return p
}

// end sends a signal and returns the exit status of the program.
func (p *process) end(sig os.Signal) error {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(sig) // the process may have ended already
		p.err = p.cmd.Wait()
		p.http.CloseIdleConnections()
	})
	return p.err
}

// do sends a request.
func (p *process) do(method, path, body string) (code int, answer string, err error) {
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// put puts a file.
func (p *process) put(f fileInfo) error {
	body, err := json.Marshal(f.Chunks)
	if err != nil {
		return err
	}
	code, answer, err := p.do("PUT", "/files/"+url.PathEscape(f.Name), string(body))
	if err == nil && code != http.StatusNoContent {
		err = fmt.Errorf("put %s: %d, %s", f.Name, code, answer)
	}
	return err
}

// get gets a file.
func (p *process) get(t *testing.T, name string) (f fileInfo) {
	t.Helper()
	code, answer, err := p.do("GET", "/files/"+url.PathEscape(name), "")
	if err != nil || code != http.StatusOK {
		t.Fatalf("get %s: %d, %s, %v", name, code, answer, err)
	}
	if err := json.Unmarshal([]byte(answer), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// health gets the response of /healthz.
func (p *process) health(t *testing.T) (h health) {
	t.Helper()
	code, answer, err := p.do("GET", "/healthz", "")
	if err != nil || code != http.StatusOK {
		t.Fatalf("healthz: %d, %s, %v", code, answer, err)
	}
	if err := json.Unmarshal([]byte(answer), &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// version returns a file whose chunks all contain the version number.
func version(name string, n int) fileInfo {
	f := fileInfo{Name: name}
	for i := range 1 + n%5 {
		c := chunk{fmt.Sprintf("blocks/%s/%d/%d", name, n, i), int64(n), int64(100 + i)}
		f.Chunks, f.Size = append(f.Chunks, c), f.Size+c.Length
	}
	return f
}

// TestKill kills the program twice: once when no acknowledged commit is on the
// replica, and once while it writes and syncs.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	replica, buffer := filepath.Join(dir, "replica"), filepath.Join(dir, "buffer")
	args := []string{"-replica", replica, "-buffer", buffer}

	// Last acknowledged version by file name.
	acked := make(map[string]int)
	p := start(t, append(args, "-sync", "1h")...)
	for n := range 10 {
		name := fmt.Sprintf("a/%d ä?.txt", n%7)
		if err := p.put(version(name, n)); err != nil {
			t.Fatal(err)
		}
		acked[name] = n
	}
	if h := p.health(t); !h.Writable || h.Unsynced == 0 || h.Error != "" {
		t.Errorf("healthz is %+v", h)
	}
	_ = p.end(syscall.SIGKILL)
	if files, err := filepath.Glob(filepath.Join(replica, "ltx", "*", "*")); err != nil || len(files) > 0 {
		t.Fatalf("the replica has %v already, %v", files, err)
	}

	p = start(t, append(args, "-sync", "5ms")...)
	for name, n := range acked {
		if got, want := p.get(t, name), version(name, n); !reflect.DeepEqual(got, want) {
			t.Errorf("after the first kill: %+v, want %+v", got, want)
		}
	}
	for name, n := range writeUntilKilled(t, p) {
		acked[name] = n
	}

	p = start(t, args...)
	files := make(map[string]fileInfo)
	for name, n := range acked {
		// A PUT without an answer may be in the database, but only as a whole.
		f := p.get(t, name)
		if !reflect.DeepEqual(f, version(name, n)) && !reflect.DeepEqual(f, version(name, n+1)) {
			t.Errorf("after the second kill: %+v, want version %d", f, n)
		}
		files[name] = f
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Fatalf("the program ends: %v\n%s", err, p.log)
	}
	if left, err := filepath.Glob(buffer + "*"); err != nil || len(left) > 0 {
		t.Errorf("the buffer still has %v, %v", left, err)
	}
	checkReplica(t, replica, files)
}

// writeUntilKilled puts versions of several files concurrently and kills the
// program when it has acknowledged enough of them. It returns the last
// acknowledged version of each file.
func writeUntilKilled(t *testing.T, p *process) map[string]int {
	const writers, enough = 4, 60
	acks := make(chan struct{}, enough)
	last := make([]int, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			// The error means that the program was killed or that the test
			// ended.
			for n := 1; p.put(version(fmt.Sprint("b", i), n)) == nil; n++ {
				last[i] = n
				select {
				case acks <- struct{}{}:
				default:
				}
			}
		})
	}
	late := time.After(time.Minute)
	for range enough {
		select {
		case <-acks:
		case <-late:
			t.Fatal("the program does not answer") // the program is killed after that
		}
	}
	_ = p.end(syscall.SIGKILL)
	wg.Wait()
	acked := make(map[string]int)
	for i, n := range last {
		if n > 0 {
			acked[fmt.Sprint("b", i)] = n
		}
	}
	return acked
}

// checkReplica reads the replica with another VFS and checks that it contains
// exactly the files in want.
func checkReplica(t *testing.T, replica string, want map[string]fileInfo) {
	t.Helper()
	vfs := litestream.NewVFS(file.NewReplicaClient(replica), &litestream.Options{Logger: slog.New(slog.DiscardHandler)})
	defer func() {
		if err := vfs.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := registerVFS("check", vfs); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:check.db?vfs=check&mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var ok string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&ok); err != nil || ok != "ok" {
		t.Fatalf("integrity check: %s, %v", ok, err)
	}
	s := &store{reader: db}
	for name, f := range want {
		if got, err := s.get(t.Context(), name); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("the replica has %+v, %v, want %+v", got, err, f)
		}
	}
	var files int
	if err := db.QueryRow("SELECT count(*) FROM files").Scan(&files); err != nil || files != len(want) {
		t.Errorf("the replica has %d files, %v, want %d", files, err, len(want))
	}
}

func TestRequests(t *testing.T) {
	p := start(t, "-replica", "file:"+t.TempDir())
	one := `[{"object":"x","offset":0,"length":1}]`
	big := `[{"object":"x","offset":0,"length":9223372036854775807}`
	for _, tc := range []struct {
		name, method, path, body string
		code                     int
		answer                   string
	}{
		{"put", "PUT", "/files/a", one, 204, ""},
		{"get", "GET", "/files/a", "", 200, `{"name":"a","size":1,"chunks":[{"object":"x","offset":0,"length":1}]}`},
		{"replace", "PUT", "/files/a", `[]`, 204, ""},
		{"get empty", "GET", "/files/a", "", 200, `{"name":"a","size":0,"chunks":[]}`},
		{"slashes", "PUT", "/files/b%2F%2E%2E%2Fc", one, 204, ""},
		{"get slashes", "GET", "/files/b%2F..%2Fc", "", 200, `{"name":"b/../c","size":1,`},
		{"quotes", "GET", "/files/'%20OR%201=1%20--", "", 404, "no such file"},
		{"missing", "GET", "/files/none", "", 404, "no such file"},
		{"no name", "GET", "/files/", "", 404, ""},
		{"long name", "PUT", "/files/" + strings.Repeat("x", maxName+1), one, 400, "a name has"},
		{"bad utf-8", "GET", "/files/%ff", "", 400, "a name has"},
		{"zero byte", "PUT", "/files/%00", one, 400, "a name has"},
		{"method", "DELETE", "/files/a", "", 405, ""},
		{"no body", "PUT", "/files/a", "", 400, "parse body"},
		{"null", "PUT", "/files/a", "null", 400, "no list"},
		{"no list", "PUT", "/files/a", `{"object":"x"}`, 400, "parse body"},
		{"unknown field", "PUT", "/files/a", `[{"object":"x","length":1,"colour":2}]`, 400, "colour"},
		{"two lists", "PUT", "/files/a", one + one, 400, "goes on"},
		{"no object", "PUT", "/files/a", `[{"length":1}]`, 400, "object of chunk 0"},
		{"no length", "PUT", "/files/a", `[{"object":"x"}]`, 400, "length 0"},
		{"negative", "PUT", "/files/a", `[{"object":"x","offset":-1,"length":1}]`, 400, "offset -1"},
		{"end too large", "PUT", "/files/a", `[{"object":"x","offset":1,"length":9223372036854775807}]`, 400, "chunk 0"},
		{"file too large", "PUT", "/files/a", big + `,{"object":"x","offset":0,"length":1}]`, 400, "chunk 1"},
		{"many chunks", "PUT", "/files/a", "[" + strings.Repeat(one[1:len(one)-1]+",", maxChunks) + one[1:], 400, "at most"},
		{"large body", "PUT", "/files/a", strings.Repeat(" ", maxBody) + one, 413, "more than"},
		{"large rest", "PUT", "/files/a", one + strings.Repeat(" ", maxBody), 413, "more than"},
		{"unchanged", "GET", "/files/a", "", 200, `{"name":"a","size":0,"chunks":[]}`},
		{"health", "GET", "/healthz", "", 200, `"writable":true`},
	} {
		code, answer, err := p.do(tc.method, tc.path, tc.body)
		if err != nil || code != tc.code || !strings.Contains(answer, tc.answer) {
			t.Errorf("%s: %d, %.200s, %v, want %d with %q", tc.name, code, answer, err, tc.code, tc.answer)
		}
	}
	if err := p.end(syscall.SIGINT); err != nil {
		t.Errorf("the program ends: %v\n%s", err, p.log)
	}
}

func TestRun_Errors(t *testing.T) {
	for _, tc := range []struct {
		err  string
		args []string
	}{
		{"unexpected argument", []string{"serve"}},
		{"no replica client is registered", []string{"-replica", "gopher://host/path"}},
		{"not defined", []string{"-port", "80"}},
	} {
		if err := run(t.Context(), tc.args, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%v: %v, want %q", tc.args, err, tc.err)
		}
	}
}
