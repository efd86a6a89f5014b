package webdav_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	dav "golang.org/x/net/webdav"

	"github.com/ltxvfs/litestream/webdav"
)

// create creates transaction 1 with a content that seed tells apart.
func create(ctx context.Context, t *testing.T, c *webdav.ReplicaClient, seed uint64) error {
	t.Helper()
	_, err := c.CreateLTXFile(ctx, 0, 1, 1, bytes.NewReader(encode(t, 1, seed, 1)))
	return err
}

// wantSeed checks that transaction 1 has the content of a seed.
func wantSeed(t *testing.T, c *webdav.ReplicaClient, seed uint64) {
	t.Helper()
	if got, err := read(t.Context(), c, 1, 0, 0); err != nil || !bytes.Equal(got, encode(t, 1, seed, 1)) {
		t.Errorf("transaction 1 is not that of writer %d: %d bytes, %v", seed, len(got), err)
	}
}

// transport calls a function instead of sending a request.
type transport func(req *http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// patch makes a server answer some requests otherwise.
func patch(t *testing.T, change func(w http.ResponseWriter, r *http.Request) (done bool)) server {
	root := t.TempDir()
	inner := &dav.Handler{FileSystem: dav.Dir(root), LockSystem: dav.NewMemLS()}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !change(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return server{s.URL, root}
}

// Servers whose locks are missing or keep nobody away cannot create.
func TestCreateLTXFile_Unsupported(t *testing.T) {
	for name, change := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"no locks": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == "LOCK" {
				http.Error(w, "no", http.StatusMethodNotAllowed)
			}
			return r.Method == "LOCK"
		},
		"grants every lock": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == "LOCK" {
				w.Header().Set("Lock-Token", "<opaquelocktoken:1>")
			}
			return r.Method == "LOCK" || r.Method == "UNLOCK"
		},
		"Apache with something else than files": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Server", "Apache/2.4.62 (Debian)")
			w.Header().Add("DAV", "<http://subversion.tigris.org/xmlns/dav/svn/depth>")
			w.Header().Add("DAV", "<http://apache.org/dav/propset/fs/1>")
			return false
		},
		"mod_dav behind a proxy": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Server", "nginx")
			if r.Method == http.MethodOptions {
				w.Header().Add("DAV", "1,2")
				w.Header().Add("DAV", "<http://apache.org/dav/propset/fs/1>")
			}
			return r.Method == http.MethodOptions
		},
		"a proxy that answers to OPTIONS itself": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Server", "nginx")
			if r.Method == http.MethodOptions {
				w.Header().Set("Access-Control-Allow-Methods", "GET, PUT, OPTIONS")
				w.WriteHeader(http.StatusNoContent)
			}
			return r.Method == http.MethodOptions
		},
		"a proxy that refuses OPTIONS": func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodOptions {
				http.Error(w, "no", http.StatusMethodNotAllowed)
			}
			return r.Method == http.MethodOptions
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, patch(t, change), "/app.db")
			if err := create(t.Context(), t, c, 0); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("got error %v", err)
			}
			if _, err := read(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// An answer to OPTIONS that is not the WebDAV server's does not decide how files are
// created: the next attempt asks again.
func TestCreateLTXFile_WrongOptions(t *testing.T) {
	for name, wrong := range map[string]http.HandlerFunc{
		"too many requests": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "busy", http.StatusTooManyRequests) },
		"time-out":          func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "slow", http.StatusRequestTimeout) },
		"no server":         func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "default backend", http.StatusNotFound) },
		"bad request":       func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "what?", http.StatusBadRequest) },
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html><title>Log in</title></html>")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var fails atomic.Bool
			fails.Store(true)
			c := newClient(t, patch(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.Method != http.MethodOptions:
					return false
				case fails.Load():
					wrong(w, r)
				default: // Apache, with something else than files
					w.Header().Set("Server", "Apache/2.4.62 (Debian)")
					w.Header().Set("DAV", "1,2, <http://subversion.tigris.org/xmlns/dav/svn/depth>")
				}
				return true
			}), "/app.db")
			err := create(t.Context(), t, c, 0)
			if err == nil || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "something else than the") {
				t.Errorf("first: %v", err)
			}
			fails.Store(false)
			if err := create(t.Context(), t, c, 0); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("then: %v", err)
			}
		})
	}
}

// Some servers answer to OPTIONS that nothing has the name, as long as the folder above
// does not exist.
func TestCreateLTXFile_OptionsOfFolder(t *testing.T) {
	var s server
	s = patch(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodOptions {
			return false
		}
		if _, err := os.Stat(filepath.Join(s.root, path.Dir(path.Clean(r.URL.Path)))); err == nil {
			return false
		}
		http.NotFound(w, r)
		return true
	})
	c := newClient(t, s, "/new/app.db")
	if err := create(t.Context(), t, c, 1); err != nil {
		t.Fatal(err)
	}
	wantSeed(t, c, 1)
}

// A claim that nobody uses any more is taken away by the next writer.
func TestClaim_Abandoned(t *testing.T) {
	t.Cleanup(webdav.SetPatience(30 * time.Millisecond))
	s := apacheServer(t, "")
	for name, content := range map[string]string{"full": ".1.tmp", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(s.root, name, "ltx/0")
			claim := filepath.Join(folder, ".create")
			if err := os.MkdirAll(claim, 0o777); err != nil {
				t.Fatal(err)
			}
			if content != "" {
				if err := os.WriteFile(filepath.Join(claim, content), []byte("half a fi"), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			allow(t, s.root)
			c := newClient(t, s, "/"+name)
			if err := create(t.Context(), t, c, 1); err != nil {
				t.Fatal(err)
			}
			wantSeed(t, c, 1)
			if names := left(t, folder); len(names) > 0 {
				t.Errorf("left: %q", names)
			}
		})
	}
}

// allow lets everybody write below a folder, as the server is another user.
func allow(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Chmod(path, 0o777)) })
	if err != nil {
		t.Fatal(err)
	}
}

// A writer whose claim was taken away creates nothing with it, however late its last
// request comes.
func TestClaim_Late(t *testing.T) {
	t.Cleanup(webdav.SetPatience(30 * time.Millisecond))
	s := apacheServer(t, "")
	late, fast := newClient(t, s, "/app"), newClient(t, s, "/app")
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	var once sync.Once
	late.Transport = transport(func(req *http.Request) (*http.Response, error) {
		if req.Method == "MOVE" && path.Base(path.Dir(req.URL.Path)) == ".create" {
			once.Do(func() {
				if err := create(t.Context(), t, fast, 2); err != nil {
					t.Error(err)
				}
			})
		}
		return base.RoundTrip(req)
	})
	if err := create(t.Context(), t, late, 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the late writer got %v", err)
	}
	wantSeed(t, fast, 2)
	if names := left(t, filepath.Join(s.root, "app/ltx/0")); len(names) > 0 {
		t.Errorf("left: %q", names)
	}
}

// errDead is the error of requests of a writer that is dead.
var errDead = errors.New("dead")

// A writer dies after each number of requests, or after one was carried out whose
// answer did not come. The next one creates the file, unless the first one has.
func TestClaim_Dies(t *testing.T) {
	t.Cleanup(webdav.SetPatience(20 * time.Millisecond))
	s := apacheServer(t, "")
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	for _, sends := range []bool{false, true} {
		for last, died := 0, true; died; last++ {
			place := fmt.Sprintf("/%v-%d", sends, last)
			first, second := newClient(t, s, place), newClient(t, s, place)
			var requests atomic.Int64
			died = false
			published := false // and the answer came
			first.Transport = transport(func(req *http.Request) (*http.Response, error) {
				n := int(requests.Add(1))
				if died = died || n > last; !died {
					resp, err := base.RoundTrip(req)
					published = published || err == nil && resp.StatusCode == http.StatusCreated && path.Base(path.Dir(req.URL.Path)) == ".create" && req.Method == "MOVE"
					return resp, err
				}
				if n == last+1 && sends {
					resp, err := base.RoundTrip(req)
					if err == nil {
						resp.Body.Close()
					}
				}
				return nil, errDead
			})
			err := create(t.Context(), t, first, 1)
			if (err == nil) != published {
				t.Errorf("%s: the first writer got %v, and whether its file is there: %v", place, err, published)
			}
			switch serr := create(t.Context(), t, second, 2); {
			case serr == nil && err != nil:
				wantSeed(t, second, 2)
			case errors.Is(serr, fs.ErrExist):
				wantSeed(t, second, 1)
			default:
				t.Errorf("%s: the first writer got %v, the second %v", place, err, serr)
			}
			if last > 50 {
				t.Fatal("a creation takes more than 50 requests")
			}
			for _, name := range left(t, filepath.Join(s.root, place, "ltx/0")) {
				if !strings.HasSuffix(name, ".tmp") && name != ".create" {
					t.Errorf("%s: %s is left", place, name)
				}
			}
		}
	}
}

// Writers that lose their claims again and again come to an end, and one of them is
// successful.
func TestClaim_Impatient(t *testing.T) {
	t.Cleanup(webdav.SetPatience(0))
	s := apacheServer(t, "")
	var wins atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		c := newClient(t, s, "/app")
		wg.Go(func() {
			switch err := create(t.Context(), t, c, uint64(i)); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := wins.Load(); n != 1 {
		t.Errorf("%d writers were successful", n)
	}
}
