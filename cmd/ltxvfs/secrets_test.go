package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/storetest"
)

// planted is the secret of every place in which one can be, and a key of S3. Nothing
// that a server repeats of it is shown, also not in base64.
const planted = "cGxhbnRlZC1zM2NyM3QtcGxhbnRlZC1zM2NyM3QtcGw="

// isShown reports whether a text shows the secret.
func isShown(text string) bool {
	for i := range 3 { // base64 depends on what stands before
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", i) + planted))
		if strings.Contains(text, encoded[4:len(encoded)-6]) {
			return true
		}
	}
	return strings.Contains(text, planted)
}

// readable are commands with what stands behind the URL.
var readable = [][]string{
	{"ls"}, {"ls", "--json"}, {"info"}, {"info", "--json"}, {"history"}, {"verify"}, {"verify", "--json"}, {"query", "SELECT count(*) FROM sqlite_schema"},
	{"repair"}, {"restore", "restored.db", "--json"}, {"snapshot", "--json"}, {"prune", "--keep-last", "1"}, {"copy", "file:///dev/null/x"},
}

// runShown runs each command on a URL, and looks for the secret in what it prints. With
// -short these are some of them.
func runShown(t *testing.T, p *program, url string) (printed string) {
	t.Helper()
	for _, args := range readable {
		if short := args[0] == "ls" || args[0] == "query" || args[0] == "restore"; testing.Short() && !short {
			continue
		}
		args = append([]string{args[0], url}, args[1:]...)
		out, _ := p.command(args...).CombinedOutput() // it may fail
		if isShown(string(out)) {
			t.Errorf("ltxvfs %s shows a secret:\n%s", args, out)
		}
		printed += string(out)
	}
	return printed
}

// No command prints a password, a key or a token of a URL or of the environment,
// whether the store answers, refuses, or repeats all that it was sent.
func TestSecrets(t *testing.T) {
	repeats := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := httputil.DumpRequest(r, true)
		w.Header().Set("WWW-Authenticate", `Basic realm="`+r.Header.Get("Authorization")+`"`)
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write(request)
	}))
	defer repeats.Close()
	service, environment := startS3Service(t)
	dir := t.TempDir()
	fillFolder(t, dir)
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != planted {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.FileServer(http.Dir(dir)).ServeHTTP(w, r)
	}))
	defer files.Close()
	p := newProgram(t, append(environment,
		"LITESTREAM_LOG_LEVEL=debug", "AWS_SECRET_ACCESS_KEY="+planted, "AWS_SESSION_TOKEN="+planted, "OSS_ACCESS_KEY_ID=key", "OSS_ACCESS_KEY_SECRET="+planted, "OSS_SESSION_TOKEN="+planted,
		"LITESTREAM_AZURE_SAS_TOKEN=sv=2022-11-02&sig="+planted, "LTXVFS_TOKEN="+planted, "XDG_STATE_HOME="+t.TempDir()))
	for i := range 101 { // more folders than are listed
		service.Put(fmt.Sprintf("many/%d/x", i), nil)
	}
	host := strings.TrimPrefix(repeats.URL, "http://")
	key := "?sse-customer-algorithm=AES256&sse-customer-key=" + planted
	for _, url := range []string{
		"s3://" + storetest.Bucket + "/app.db?endpoint=" + repeats.URL, "oss://bucket/app.db?region=x&endpoint=" + repeats.URL,
		"abs://account@container/app.db?endpoint=" + repeats.URL, "webdav://me:" + planted + "@" + host + "/app.db", "http://me:" + planted + "@" + host + "/app.db",
		"nats://" + planted + "@", "sftp://me:" + planted + "@", "gs://me:" + planted + "@bucket/app.db", "none://me:" + planted + "@host", "http://me:" + planted + "%zz@host/",
		"s3://" + storetest.Bucket + "/app.db?other=" + planted, "s3://" + storetest.Bucket + "/many" + key,
	} {
		runShown(t, p, url)
	}
	for _, url := range []string{"s3://" + storetest.Bucket + "/app.db" + key, "http://me:" + planted + "@" + strings.TrimPrefix(files.URL, "http://") + "/app.db"} {
		if printed := runShown(t, p, url); !strings.Contains(printed, "000000000000001d") {
			t.Errorf("%s was not read:\n%s", shown(url), printed)
		}
		if err := os.Remove(filepath.Join(p.dir, "restored.db")); err != nil {
			t.Error(err)
		}
	}
	checkServeSecrets(t, p, "http://me:"+planted+"@"+strings.TrimPrefix(files.URL, "http://"))
}

// checkServeSecrets looks for the secret in what serve prints and answers, and in the
// names of its process.
func checkServeSecrets(t *testing.T, p *program, url string) {
	t.Helper()
	cmd, out, page := startServe(t, p, url+"/app.db", url+"/damaged.db")
	for _, path := range []string{"", "?view=data", "?view=data&db=0", "?view=files&db=0", "metrics", "healthz", "none"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", page+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+planted)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // it was read
		if err != nil || answer.StatusCode == http.StatusUnauthorized {
			t.Errorf("%q: status %d, error %v", path, answer.StatusCode, err)
		}
		if isShown(string(body)) || isShown(fmt.Sprint(answer.Header)) {
			t.Errorf("%q shows a secret: %v\n%s", path, answer.Header, body)
		}
	}
	interrupt(t, cmd, out)
	if isShown(out.String()) {
		t.Errorf("serve shows a secret:\n%s", out)
	}
}
