package https_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/storetest"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/replica"
)

// server is a web server for a folder, whose answers a test can change.
type server struct {
	*httptest.Server
	root string

	mu struct {
		sync.Mutex
		change   func(w http.ResponseWriter, r *http.Request) bool // answers instead of the server, if it returns true
		requests []string
		opened   int // connections
	}
}

func newServer(t testing.TB) *server {
	s := &server{root: t.TempDir()}
	files := http.FileServer(http.Dir(s.root))
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		change := s.mu.change
		s.mu.Unlock()
		if change != nil && change(w, r) {
			return
		}
		rec := &statusWriter{w, 200}
		files.ServeHTTP(rec, r)
		what := r.Method + " " + r.URL.Path
		if rng := r.Header.Get("Range"); rng != "" {
			what += " " + rng
		}
		if r.Header.Get("If-Modified-Since") != "" {
			what += " if changed"
		}
		s.mu.Lock()
		s.mu.requests = append(s.mu.requests, fmt.Sprintf("%s: %d", what, rec.status))
		s.mu.Unlock()
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.mu.opened++
			s.mu.Unlock()
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// answer makes the server answer in another way from now on; nil: as usual.
func (s *server) answer(change func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.change = change
}

// take returns the requests since the last call, in the order of their texts.
func (s *server) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.mu.requests)
	text := strings.Join(s.mu.requests, "\n")
	s.mu.requests = nil
	return text
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func TestSQL(t *testing.T) {
	s := newServer(t)
	n := 0
	sqltest.Run(t, sqltest.Store{
		Addr: s.Listener.Addr().String(),
		NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
			n++
			name := fmt.Sprintf("r%d", n)
			return func(rt http.RoundTripper) replica.Client {
				c := newServed(t, s.URL, s.root, name, true)
				c.Transport = rt
				return c
			}
		},
	})
}

// TestTrace compares the requests of common operations with a golden file.
func TestTrace(t *testing.T) {
	s := newServer(t)
	sqltest.Trace(t, newServed(t, s.URL, s.root, "app", true), newServed(t, s.URL, s.root, "app", true), s.take)
}

func BenchmarkScan(b *testing.B) {
	s := newServer(b)
	writer := newServed(b, s.URL, s.root, "app", true)
	sqltest.Scan(b, writer, func() replica.Client { return newServed(b, s.URL, s.root, "app", true) })
}

// Answers that are not those of a server for files are errors: each says what is
// wrong, and none is an empty replica, a missing file or the content of one.
func TestWrongAnswers(t *testing.T) {
	s := newServer(t)
	w := newServed(t, s.URL, s.root, "app", true)
	body := encode(t, 1, 0, 100<<10)
	write(t, w, 1, body)
	page := func(status int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			fmt.Fprint(w, "<html><title>Log in</title>Welcome</html>")
		}
	}
	status := func(status int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	whole := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	}
	for name, tt := range map[string]struct {
		answer    func(http.ResponseWriter, *http.Request)
		want      string // in the error of a read
		permanent bool
		missing   bool
	}{
		"missing":          {status(404), "does not exist", false, true},
		"gone":             {status(410), "does not exist", false, true},
		"wants a password": {status(401), "wants a user and a password", true, false},
		"forbidden":        {status(403), "http status 403", true, false},
		"broken":           {status(500), "http status 500", false, false},
		"busy":             {status(503), "http status 503", false, false},
		"a page":           {page(200), "answer is a page", false, false},
		"ignores ranges":   {whole, "server ignores ranges", true, false},
		"no content":       {status(204), "http status 204", true, false},
		"wrong range": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-9/100")
			w.WriteHeader(206)
		}, "got content range", false, false},
		"no range": {status(206), "got content range", false, false},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Range", "bytes 50-149/1000")
			w.WriteHeader(206)
		}, "answer is encoded", false, false},
		"redirected for ever": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?s3cr3t", http.StatusFound)
		}, "more than 5 redirects", false, false},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 50-149/%d", len(body)))
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(206)
			_, _ = w.Write(body[50:60])
			panic(http.ErrAbortHandler)
		}, "EOF", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s.URL+"/app")
			c.Username, c.Password = "user", "s3cr3t"
			s.answer(nil)
			if infos, err := list(t.Context(), c); err != nil || len(infos) != 1 {
				t.Fatalf("%d files, %v", len(infos), err)
			}
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				tt.answer(w, r)
				return true
			})
			got, err := read(t.Context(), c, 1, 50, 100)
			s.answer(nil)
			switch {
			case err == nil, !strings.Contains(err.Error(), tt.want):
				t.Errorf("%d bytes, error %v, want one with %q", len(got), err, tt.want)
			case permanent(err) != tt.permanent || errors.Is(err, fs.ErrNotExist) != tt.missing:
				t.Errorf("permanent %v, missing %v: %v", permanent(err), errors.Is(err, fs.ErrNotExist), err)
			case strings.Contains(err.Error(), "s3cr3t"):
				t.Errorf("error has a secret: %v", err)
			}
			if got, err := read(t.Context(), c, 1, 0, 0); err != nil || !bytes.Equal(got, body) {
				t.Errorf("afterwards: %d bytes, %v", len(got), err)
			}
		})
	}
}

// Without an index and without listings, the error says what to do. A damaged index
// is an error, too.
func TestNoListing(t *testing.T) {
	s := newServer(t)
	for name, tt := range map[string]struct {
		index     string // content of index.json; empty: 404
		want      string
		permanent bool
	}{
		"nothing":  {"", "ltxvfs publish", true},
		"a page":   {"<!doctype html><title>App</title>", "ltxvfs publish", true},
		"other":    {`{"name": "app"}`, "no list of LTX files", false},
		"cut off":  {`{"index":{"version":1,"files":[`, "cut off", false},
		"checksum": {`{"index":{"version":1,"files":[]},"sha256":"00"}`, "checksum is wrong", false},
	} {
		t.Run(name, func(t *testing.T) {
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/index.json") || tt.index == "" {
					http.NotFound(w, r)
					return true
				}
				fmt.Fprint(w, tt.index)
				return true
			})
			c := newClient(t, s.URL+"/none")
			infos, err := list(t.Context(), c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || permanent(err) != tt.permanent {
				t.Errorf("%d files, error %v (permanent: %v), want %q", len(infos), err, permanent(err), tt.want)
			}
		})
	}
}

// An index that is read while it is replaced is read again: a server that looks at a
// file before it opens it sends as much of the new one as the old one had.
func TestIndexReplaced(t *testing.T) {
	s := newServer(t)
	w := newServed(t, s.URL, s.root, "app", true)
	write(t, w, 1, encode(t, 1, 1, 5000))
	c := newClient(t, s.URL+"/app")
	if infos, err := list(t.Context(), c); err != nil || len(infos) != 1 {
		t.Fatalf("%d files, %v", len(infos), err)
	}
	write(t, w, 2, encode(t, 2, 1, 5000))
	whole, err := os.ReadFile(filepath.Join(s.root, "app", "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, mixed := range map[string]func(w http.ResponseWriter){
		"longer":  func(w http.ResponseWriter) { _, _ = w.Write(whole[:len(whole)-100]) },
		"shorter": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9999"); _, _ = w.Write(whole) },
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/index.json") {
					return false
				}
				if asked++; asked > 2 {
					return false
				}
				mixed(w)
				return true
			})
			if infos, err := list(t.Context(), newClient(t, s.URL+"/app")); err != nil || len(infos) != 2 || asked < 3 {
				t.Errorf("%d files after %d requests, %v", len(infos), asked, err)
			}
		})
	}
}

// A file that is replaced by another one of the same size is another version.
func TestPinned(t *testing.T) {
	s := newServer(t)
	w := newServed(t, s.URL, s.root, "app", true)
	first, second := encode(t, 1, 1, 50<<10), encode(t, 1, 2, 50<<10)
	tag := `"a"`
	s.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("ETag", tag)
		return false
	})
	write(t, w, 1, first)
	c := newClient(t, s.URL+"/app")
	version := func() (v string) {
		ctx := withNoter(t.Context(), &v)
		if infos, err := list(ctx, c); err != nil || len(infos) != 1 {
			t.Fatalf("%d files, %v", len(infos), err)
		}
		return v
	}
	v := version()
	if got, err := read(withVersion(t.Context(), v), c, 1, 10, 100); err != nil || !bytes.Equal(got, first[10:110]) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if len(first) != len(second) {
		second = append(second[:0:0], first...)
	}
	tag = `"b"`
	write(t, w, 1, second)
	if _, err := read(withVersion(t.Context(), v), c, 1, 10, 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of the version that was replaced: %v", err)
	}
	if next := version(); next == v {
		t.Errorf("version is %s still", next)
	} else if got, err := read(withVersion(t.Context(), next), c, 1, 10, 100); err != nil || !bytes.Equal(got, second[10:110]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A server that hangs ends a call with its context.
func TestHangs(t *testing.T) {
	s := newServer(t)
	newServed(t, s.URL, s.root, "app", true)
	s.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := list(ctx, newClient(t, s.URL+"/app")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v", err)
	}
}

// Listings of folders by several servers give the same files.
func TestFolders(t *testing.T) {
	name := func(txid ltx.TXID) string { return ltx.FormatFilename(txid, txid) }
	for server, page := range map[string]string{
		"nginx": "<html>\n<head><title>Index of /app/%[3]s</title></head>\n<body>\n<h1>Index of /app/%[3]s</h1><hr><pre><a href=\"../\">../</a>\n" +
			"<a href=\"%[1]s\">%[1]s</a>   28-Nov-2026 20:00                1234\n<a href=\"%[2]s\">%[2]s</a>   28-Nov-2026 20:01                 12K\n<a href=\"0/\">0/</a>  28-Nov-2026 20:01      -\n</pre><hr></body>\n</html>",
		"nginx json": `[{"name":"0","type":"directory","mtime":"Sat, 28 Nov 2026 20:00:00 GMT"},{"name":"%[1]s","type":"file","mtime":"Sat, 28 Nov 2026 20:00:00 GMT","size":1234},` +
			`{"name":"%[2]s","type":"file","mtime":"Sat, 28 Nov 2026 20:00:00 GMT","size":12000}]`,
		"lighttpd": `<!DOCTYPE html><html><head><title>Index of /app/</title></head><body><h2>Index of /app/</h2><table><tbody><tr class="d"><td class="n"><a href="../">..</a>/</td></tr>` +
			`<tr class="d"><td class="n"><a href="0/">0</a>/</td><td class="m">x</td></tr><tr><td class="n"><a href="%[1]s">%[1]s</a></td><td class="m">2026-Nov-28 20:00:00</td><td class="s">1.2K</td></tr>` +
			`<tr><td class="n"><a href="%[2]s">%[2]s</a></td></tr></tbody></table></body></html>`,
		"python": "<!DOCTYPE HTML>\n<html lang=\"en\"><head><title>Directory listing for /app/</title></head><body><h1>Directory listing for /app/</h1><hr><ul>" +
			"<li><a href=\"0/\">0/</a></li><li><a href=\"%[1]s\">%[1]s</a></li><li><a href=\"%[2]s\">%[2]s</a></li></ul><hr></body></html>",
	} {
		t.Run(server, func(t *testing.T) {
			s := newServer(t)
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Last-Modified", "Sat, 28 Nov 2026 20:00:00 GMT")
				switch path := strings.TrimPrefix(r.URL.Path, "/app/"); {
				case r.Method == http.MethodHead && strings.HasSuffix(path, name(1)):
					w.Header().Set("Content-Length", "1234")
				case r.Method == http.MethodHead && strings.HasSuffix(path, name(2)):
					w.Header().Set("Content-Length", "12000")
				case path == "ltx/" || path == "ltx/0/" || path == "":
					fmt.Fprintf(w, page, name(1), name(2), path)
				default:
					http.NotFound(w, r)
				}
				return true
			})
			infos, err := list(t.Context(), newClient(t, s.URL+"/app"))
			if err != nil || len(infos) != 2 || infos[0].Size != 1234 || infos[1].Size != 12000 || infos[0].CreatedAt.Unix() != 1795896000 {
				t.Errorf("%d files, %v: %v", len(infos), err, infos)
			}
		})
	}
}

// Another page, or status 404, in the place of the listing of a folder that exists is an
// error, and not an older state of the replica.
func TestFolders_Hidden(t *testing.T) {
	s := newServer(t)
	served := newServed(t, s.URL, s.root, "app", false)
	write(t, served, 1, encode(t, 1, 0, 5000))
	page := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html><title>Log in</title>Welcome</html>")
	}
	status := func(status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(status) }
	}
	half := func(w http.ResponseWriter) {
		fmt.Fprintf(w, "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href=\"%[1]s\">%[1]s</a>\n", ltx.FormatFilename(1, 1))
	}
	all := func(string) bool { return true }
	only := func(names ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(names, name) }
	}
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter)
		to     func(name string) bool // names of folders
		want   string                 // in the error; empty: the listing is complete
	}{
		"a page for a level": {page, only("ltx/0/"), "folder ltx/0/ may have files"},
		"no level":           {status(404), only("ltx/0/"), "folder ltx/0/ may have files"},
		"a page for a level and the folder above": {page, only("ltx/0/", "ltx/"), "folder ltx/ may have files"},
		"neither a level nor the folder above":    {status(404), only("ltx/0/", "ltx/"), "folder ltx/ may have files"},
		"a page for everything":                   {page, all, "folder of the replica may have files"},
		"nothing":                                 {status(404), all, "folder of the replica may have files"},
		"half a listing":                          {half, only("ltx/0/"), "listing is cut off"},
		"a page for levels that do not exist":     {page, func(name string) bool { return strings.HasPrefix(name, "ltx/") && name > "ltx/0/" }, ""},
		"a page for the folder above":             {page, only("ltx/"), ""},
		"no listing of the folder above":          {status(403), only("ltx/"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, s.URL+"/app")
			s.answer(nil)
			if infos, err := list(t.Context(), c); err != nil || len(infos) != 1 {
				t.Fatalf("%d files, %v", len(infos), err)
			}
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				folder := strings.TrimPrefix(r.URL.Path, "/app/")
				isFolder := folder == "" || strings.HasSuffix(folder, "/")
				if isFolder && tt.to(folder) {
					tt.answer(w)
					return true
				}
				return false
			})
			infos, err := list(t.Context(), c)
			switch {
			case tt.want == "" && (err != nil || len(infos) != 1):
				t.Errorf("%d files, %v", len(infos), err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || permanent(err)):
				t.Errorf("%d files, error %v, want a transient one with %q", len(infos), err, tt.want)
			}
		})
	}
}

// A folder that is made while the folders are listed is listed with its files.
func TestFolders_JustMade(t *testing.T) {
	for name, below := range map[string]string{"all folders": "/app/ltx/", "a level": "/app/ltx/0/"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			served := newServed(t, s.URL, s.root, "app", false)
			c := newClient(t, s.URL+"/app")
			if infos, err := list(t.Context(), c); err != nil || len(infos) > 0 {
				t.Fatalf("%d files, %v", len(infos), err)
			}
			write(t, served, 1, encode(t, 1, 0, 5000))
			var asked sync.Map // paths of folders
			s.answer(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, below) || !strings.HasSuffix(r.URL.Path, "/") {
					return false
				}
				if _, again := asked.LoadOrStore(r.URL.Path, true); again {
					return false
				}
				http.NotFound(w, r) // as before the write
				return true
			})
			if infos, err := list(t.Context(), c); err != nil || len(infos) != 1 {
				t.Errorf("%d files, %v", len(infos), err)
			}
		})
	}
}

// A public bucket is listed by the XML of S3, in pages and in either layout.
func TestBucket(t *testing.T) {
	service := storetest.NewS3()
	body := encode(t, 1, 0, 1000)
	objects := map[string][]byte{}
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		objects["data/app/0000/"+ltx.FormatFilename(txid, txid)] = body
	}
	service.Set(objects)
	server := httptest.NewServer(service)
	t.Cleanup(server.Close)
	c := newClient(t, server.URL+"/"+storetest.Bucket+"/data/app")
	infos, err := list(t.Context(), c)
	if err != nil || len(infos) != 3 || infos[2].MinTXID != 3 || infos[2].Size != int64(len(body)) {
		t.Fatalf("%d files, %v", len(infos), err)
	}
	if got, err := read(t.Context(), c, 1, 100, 50); err != nil || !bytes.Equal(got, body[100:150]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
