package webdav_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superfly/ltx"
	"go.uber.org/goleak"
	dav "golang.org/x/net/webdav"

	"github.com/ltxvfs/litestream/internal/storetest/apache"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
	"github.com/ltxvfs/litestream/webdav"
)

func TestMain(m *testing.M) {
	os.Unsetenv("LITESTREAM_WEBDAV_PASSWORD")
	goleak.VerifyTestMain(m)
}

// server is a WebDAV server for a folder.
type server struct {
	url  string
	root string
}

// goServer returns the server of golang.org/x/net/webdav.
func goServer(t testing.TB) server {
	root := t.TempDir()
	s := httptest.NewServer(&dav.Handler{FileSystem: dav.Dir(root), LockSystem: dav.NewMemLS()})
	t.Cleanup(s.Close)
	return server{s.URL, root}
}

// apacheServer returns Apache with mod_dav.
func apacheServer(t testing.TB, config string, modules ...string) server {
	locks := filepath.Join("/dev/shm", fmt.Sprintf("apache-locks-%d", time.Now().UnixNano()))
	t.Cleanup(func() {
		files, _ := filepath.Glob(locks + "*")
		for _, file := range files {
			os.Remove(file)
		}
	})
	a := apache.New(t, "DavLockDB "+locks+"\nDavMinTimeout 1\n<Location />\nDav On\n"+config+"\n</Location>", append([]string{"dav", "dav_fs"}, modules...)...)
	return server{"http://" + a.Addr, a.Root}
}

func newClient(t testing.TB, s server, path string) *webdav.ReplicaClient {
	t.Helper()
	c := webdav.NewReplicaClient()
	c.URL, c.Path = s.url, path
	t.Cleanup(func() { c.Close() })
	return c
}

// place stores a file at a server.
func place(t testing.TB, name string, body []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, body, 0o666); err != nil {
		t.Fatal(err)
	}
}

func properties(s server) replicatest.Properties {
	return replicatest.Properties{
		NoListAll: true, LargeBody: 1 << 20, ManyFiles: 60,
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			place(t, filepath.Join(s.root, c.(*webdav.ReplicaClient).Path, "ltx", strconv.Itoa(level), name), body)
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			place(t, filepath.Join(s.root, c.(*webdav.ReplicaClient).Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			return newClient(t, s, c.(*webdav.ReplicaClient).Path)
		},
		At: func(t *testing.T, c replica.Client, below string) replica.Client {
			d, err := replica.NewFromURL(strings.Replace(s.url, "http", "webdav", 1) + c.(*webdav.ReplicaClient).Path + below)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.(*webdav.ReplicaClient).Close() })
			return d
		},
		Unfinished: func(t *testing.T, c replica.Client) []string {
			return left(t, filepath.Join(s.root, c.(*webdav.ReplicaClient).Path, "ltx/0"))
		},
	}
}

// left returns what writers have left in a folder, but for the name of their locks.
func left(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && e.Name() != ".create-lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestConformance(t *testing.T) {
	t.Cleanup(webdav.SetInMemory(128 << 10))
	for name, s := range map[string]server{"go": goServer(t), "apache": apacheServer(t, "")} {
		t.Run(name, func(t *testing.T) {
			n := 0
			replicatest.Run(t, func(t *testing.T) replica.Client {
				n++
				return newClient(t, s, fmt.Sprintf("/some/r%d", n))
			}, properties(s))
		})
	}
}

// encode makes an LTX file of about size bytes.
func encode(t testing.TB, txid ltx.TXID, seed uint64, size int) []byte {
	t.Helper()
	b, err := replicatest.FileSpec{
		MinTXID: txid, MaxTXID: txid, Timestamp: time.UnixMilli(1_700_000_000_123), PageSize: 4096, Pages: max(size/4096, 1), Seed: seed,
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(ctx context.Context, c replica.Client, txid ltx.TXID, offset, size int64) ([]byte, error) {
	body, err := c.OpenLTXFile(ctx, 0, txid, txid, offset, size)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) || errors.As(err, &p) && p.Permanent()
}

// A folder for temporary files that does not exist is no missing LTX file.
func TestWriteLTXFile_NoTemporaryFolder(t *testing.T) {
	t.Cleanup(webdav.SetInMemory(1 << 10))
	c, body, gone := newClient(t, goServer(t), "/app.db"), encode(t, 1, 0, 50<<10), filepath.Join(t.TempDir(), "gone")
	for _, name := range []string{"TMPDIR", "TMP", "TEMP"} { // on any system
		t.Setenv(name, gone)
	}
	_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body))
	if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "temporary file") {
		t.Errorf("got error %v", err)
	}
}

// The client sends the password as the server asks, and only then.
func TestAuthentication(t *testing.T) {
	for _, method := range []string{"Basic", "Digest"} {
		t.Run(method, func(t *testing.T) {
			file := filepath.Join("/dev/shm", fmt.Sprintf("apache-users-%d", time.Now().UnixNano()))
			t.Cleanup(func() { os.Remove(file) })
			// Both lines are for the user me with the password s3cr3t, in the realm dav.
			line := "me:{SHA}JatLBwcxJlRBNXQQXHxWGWdmvfE=\n"
			if method == "Digest" {
				line = "me:dav:" + md5Hex("me:dav:s3cr3t") + "\n"
			} else {
				line = "me:{SHA}" + sha1Base64("s3cr3t") + "\n"
			}
			if err := os.WriteFile(file, []byte(line), 0o644); err != nil {
				t.Fatal(err)
			}
			s := apacheServer(t, "AuthType "+method+"\nAuthName dav\nAuth"+method+"Provider file\nAuthUserFile "+file+"\nRequire valid-user", "auth_"+strings.ToLower(method), "authn_file", "authz_user")
			for _, tt := range []struct {
				user, password string
				want           string
			}{{"me", "s3cr3t", ""}, {"me", "s3cr3t-wrong", "does not accept the user me"}, {"you", "s3cr3t", "does not accept the user you"}, {"", "", "wants a user"}} {
				c := newClient(t, s, "/app.db")
				c.Username, c.Password = tt.user, tt.password
				_, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(encode(t, 1, 0, 1)))
				for range 3 { // with a nonce that was used before
					if err == nil {
						_, err = read(t.Context(), c, 1, 0, 10)
					}
				}
				switch {
				case tt.want == "" && err != nil, tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
					t.Errorf("%s, %s: got error %v, want %q", tt.user, tt.password, err, tt.want)
				case err != nil && (!permanent(err) || strings.Contains(err.Error(), "s3cr3t")):
					t.Errorf("permanent %v: %v", permanent(err), err)
				}
			}
		})
	}
}

// Status 400 in answer to a listing does not mean that the folder is empty.
func TestLTXFiles_BadRequest(t *testing.T) {
	for name, refuses := range map[string]func(r *http.Request) bool{
		"one folder": func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/ltx/0/") },
		"everything": func(*http.Request) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			var fails atomic.Bool
			c := newClient(t, patch(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !fails.Load() || !refuses(r) {
					return false
				}
				http.Error(w, "The plain HTTP request was sent to HTTPS port", http.StatusBadRequest)
				return true
			}), "/some/app.db")
			if err := create(t.Context(), t, c, 1); err != nil {
				t.Fatal(err)
			}
			for _, broken := range []bool{false, true} {
				fails.Store(broken)
				infos, err := list(t.Context(), c)
				if !broken && (err != nil || len(infos) != 1) || broken && (err == nil || !strings.Contains(err.Error(), "webdavs://")) {
					t.Errorf("broken %v: %d files, error %v", broken, len(infos), err)
				}
			}
		})
	}
}

// At Apache, a file in the way of a folder means that the folder has no files.
func TestLTXFiles_FileInTheWay(t *testing.T) {
	s := apacheServer(t, "")
	for at, in := range map[string]string{"/app.db": "app.db", "/a/app.db": "a", "/b": "b/ltx", "/c": "c/ltx/0"} {
		place(t, filepath.Join(s.root, in), []byte("a file"))
		allow(t, s.root)
		if infos, err := list(t.Context(), newClient(t, s, at)); err != nil || len(infos) > 0 {
			t.Errorf("%s with the file %s: %d files, error %v", at, in, len(infos), err)
		}
	}
}

// list lists level 0.
func list(ctx context.Context, c *webdav.ReplicaClient) ([]*ltx.FileInfo, error) {
	itr, err := c.LTXFiles(ctx, 0, 0, false)
	if err != nil {
		return nil, err
	}
	infos, err := ltx.SliceFileIterator(itr)
	return infos, errors.Join(err, itr.Close())
}
