package s3_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/s3"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// recorder is a transport that writes requests down.
type recorder struct {
	inner http.RoundTripper
	root  string // what is left out at the start of names

	mu   sync.Mutex
	reqs []*recorded // guarded by mu
}

type recorded struct {
	what  string
	bytes int // of the body that was read; not of listings, whose dates differ
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_, name, _ := strings.Cut(req.URL.Path, r.root)
	what := req.Method + " " + name
	if req.URL.Query().Has("session") {
		what = "SESSION" // of a directory bucket
	}
	list := req.URL.Query().Has("list-type")
	if list {
		q := req.URL.Query()
		what = fmt.Sprintf("LIST %s", strings.TrimPrefix(q.Get("prefix"), r.root))
		if q.Has("start-after") {
			what += " after " + strings.TrimPrefix(q.Get("start-after"), r.root)
		}
		if q.Has("continuation-token") {
			what += " continued"
		}
	}
	if rng := req.Header.Get("Range"); rng != "" {
		what += " " + rng
	}
	rec := &recorded{what: fmt.Sprintf("%s: %d", what, resp.StatusCode)}
	r.mu.Lock()
	r.reqs = append(r.reqs, rec)
	r.mu.Unlock()
	if !list {
		resp.Body = &countingBody{resp.Body, r, rec}
	}
	return resp, nil
}

type countingBody struct {
	io.ReadCloser
	r   *recorder
	rec *recorded
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.r.mu.Lock()
	b.rec.bytes += n
	b.r.mu.Unlock()
	return n, err
}

// take returns the requests since the last call, in order of text: those at
// once come in any order.
func (r *recorder) take() (reqs int, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var lines []string
	total := 0
	for _, rec := range r.reqs {
		line := rec.what
		if !strings.HasPrefix(line, "LIST") {
			line += fmt.Sprintf(", %d bytes", rec.bytes)
		}
		lines, total = append(lines, line), total+rec.bytes
	}
	slices.Sort(lines)
	n := len(r.reqs)
	r.reqs = nil
	return n, fmt.Sprintf("%d requests, %d bytes of files\n%s\n", n, total, strings.Join(lines, "\n"))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

// record returns a client of a replica whose requests are written down.
func (s *server) record(t testing.TB, path string) (*s3.ReplicaClient, *recorder) {
	r := &recorder{inner: s.ownTransport(t), root: path + "/"}
	return s.client(t, path, r), r
}

// A listing begins at the seek key, and asks for nothing before.
func TestTrace_Seek(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	c, rec := s.record(t, newPath())
	for _, txid := range []ltx.TXID{4, 5, 6} {
		write(t, c, 0, txid, file(t, txid, 4096))
	}
	rec.take()
	itr, err := c.LTXFiles(t.Context(), 0, 5, false)
	if err != nil {
		t.Fatal(err)
	}
	if files, err := ltx.SliceFileIterator(itr); err != nil || len(files) != 2 {
		t.Errorf("%d files, %v", len(files), err)
	}
	if _, text := rec.take(); text != "1 requests, 0 bytes of files\nLIST 0000/ after 0000/0000000000000005: 200\n" {
		t.Error(text)
	}
}
