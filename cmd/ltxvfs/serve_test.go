package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/metrics"
)

// startServe starts serve on a free port, and returns its address.
func startServe(t *testing.T, p *program, args ...string) (cmd *exec.Cmd, out *output, url string) {
	t.Helper()
	cmd, out = p.start(append([]string{"serve", "--addr", "127.0.0.1:0"}, args...)...)
	out.waitFor(t, " at http://127.0.0.1:")
	out.waitFor(t, "/\n")
	m := regexp.MustCompile(`databases? at (http://127\.0\.0\.1:\d+/)`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("it printed %s", out)
	}
	return cmd, out, m[1]
}

// servedPage is what the page asks for, as far as the test looks at it.
type servedPage struct {
	Databases []struct {
		ID, Name, Place, TXID, State string
		Problems                     []struct{ Text string }
	}
}

func getPage(t *testing.T, url, token string) (status int, page servedPage, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.SetBasicAuth("me", token)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(b, &page) // the page itself is HTML
	return answer.StatusCode, page, string(b)
}

// interrupt ends a program, which has to end well.
func interrupt(t *testing.T, cmd *exec.Cmd, out *output) {
	t.Helper()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted, it ends with %v:\n%s", err, out)
	}
}

// serve shows all databases below a URL, also those that cannot be opened, and ends well.
func TestServe(t *testing.T) {
	p := newProgram(t, startS3(t))
	bucket := fillFolder(t, p.dir)
	cmd, out, url := startServe(t, p, bucket)
	if text := out.String(); !strings.Contains(text, "3 databases at http://127.0.0.1:") || !strings.Contains(text, "damaged.db: load 0/") {
		t.Errorf("it printed\n%s", text)
	}
	status, _, body := getPage(t, url, "")
	if status != http.StatusOK || !strings.Contains(body, "<title>Databases</title>") {
		t.Errorf("status %d: %.200s", status, body)
	}
	_, page, body := getPage(t, url+"?view=data", "")
	states := make(map[string]string)
	for _, d := range page.Databases {
		states[strings.TrimPrefix(d.Name, bucket)] = d.State + " " + d.TXID
		if d.State == "bad" && !strings.Contains(d.Problems[0].Text, "corrupt ltx file") {
			t.Errorf("the problem is %+v", d.Problems)
		}
	}
	if len(states) != 3 || states["/damaged.db"] != "bad " || states["/tenants/a/app.db"] != "good 0000000000000045" || states["/app.db"] != "good 000000000000001d" {
		t.Errorf("the states are %v:\n%s", states, body)
	}
	if status, _, body := getPage(t, url+"other", ""); status != http.StatusNotFound {
		t.Errorf("another path has status %d: %s", status, body)
	}
	interrupt(t, cmd, out)

	cmd, out, url = startServe(t, p, "s3://bucket/app.db", "--token", "s3cret")
	if status, _, _ := getPage(t, url, ""); status != http.StatusUnauthorized {
		t.Errorf("without the token the status is %d", status)
	}
	for _, path := range []string{"metrics", "healthz"} {
		if status, _, _ := getPage(t, url+path, ""); status != http.StatusUnauthorized {
			t.Errorf("without the token the status of %s is %d", path, status)
		}
	}
	if status, _, body := getPage(t, url+"metrics", "s3cret"); status != http.StatusOK || !strings.Contains(body, `database="s3://bucket/app.db"`) {
		t.Errorf("metrics: status %d, %.500s", status, body)
	}
	if status, _, body := getPage(t, url+"healthz", "s3cret"); status != http.StatusOK || !strings.Contains(body, "1 open database") {
		t.Errorf("health: status %d, %s", status, body)
	}
	if status, page, _ := getPage(t, url+"?view=data", "s3cret"); status != http.StatusOK || len(page.Databases) != 1 || page.Databases[0].TXID != "000000000000001d" {
		t.Errorf("with the token: status %d, %+v", status, page)
	}
	interrupt(t, cmd, out)
}

// serveDamaged opens two databases, of which damaged.db cannot be opened. Mend makes it
// whole, and due lets the time pass until it is tried again.
func serveDamaged(t *testing.T) (s *served, mend, due func()) {
	t.Helper()
	dir := t.TempDir()
	bucket := fillFolder(t, dir)
	good, err := os.ReadFile("../../testdata/replicas/broken/base/ltx/0/0000000000000008-0000000000000008.ltx")
	if err != nil {
		t.Fatal(err)
	}
	s = &served{ctx: t.Context(), vfs: litestream.NewVFS(nil, &litestream.Options{Logger: slog.New(slog.DiscardHandler)})}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.openAll([]string{bucket + "/damaged.db", bucket + "/app.db", bucket + "/app.db"}, 2); err != nil {
		t.Fatal(err)
	}
	mend = func() {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "damaged.db/ltx/0/0000000000000008-0000000000000008.ltx"), good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	due = func() {
		for _, d := range s.databases {
			d.mu.Lock()
			d.mu.tried = d.mu.tried.Add(-reopenEvery)
			d.mu.Unlock()
		}
	}
	return s, mend, due
}

// A database that could not be opened is opened once it can be, while somebody looks.
func TestServe_Later(t *testing.T) {
	s, mend, due := serveDamaged(t)
	look := func() string {
		names := ""
		for _, u := range s.Unopened() {
			names += filepath.Base(u.Name)
		}
		s.opening.Wait()
		return names
	}
	if got := look(); got != "damaged.db" || len(s.databases) != 2 {
		t.Fatalf("%q cannot be opened, of %d databases", got, len(s.databases))
	}
	mend()
	look()
	if got := look(); got != "damaged.db" {
		t.Errorf("it is tried again at once, and %q cannot be opened", got)
	}
	due()
	look()
	if got := look(); got != "" {
		t.Errorf("%q cannot be opened", got)
	}
	if n := len(s.vfs.Stats()); n != 2 {
		t.Errorf("%d databases are open", n)
	}
}

// A health check says which database is not open, and opens it once it can be, as do
// metrics: nobody has to look at the page.
func TestServe_LaterProbed(t *testing.T) {
	for _, path := range []string{"/healthz", "/metrics"} {
		t.Run(path, func(t *testing.T) {
			s, mend, due := serveDamaged(t)
			h := s.handler(metrics.PageOptions{})
			ask := func(path string) *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
				s.opening.Wait()
				return w
			}
			if w := ask("/healthz"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "1 database could not be opened") || !strings.Contains(w.Body.String(), "damaged.db") {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
			mend()
			due()
			if w := ask(path); path == "/metrics" && w.Code != http.StatusOK {
				t.Errorf("%s: status %d: %s", path, w.Code, w.Body)
			}
			if n := len(s.vfs.Stats()); n != 2 {
				t.Errorf("%d databases are open", n)
			}
			if w := ask("/healthz"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "nothing is wrong with 2 open databases") {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
}

// A port that is taken is an error at once.
func TestServe_PortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newProgram(t, nil)
	bucket := fillFolder(t, p.dir)
	cmd := p.command("serve", bucket, "--addr", l.Addr().String())
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err == nil || code != exitStorage || !strings.Contains(string(out), "address already in use") {
		t.Errorf("exit code %d: %s", code, out)
	}
}
