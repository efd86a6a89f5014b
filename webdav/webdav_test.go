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
	"golang.org/x/sync/errgroup"

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

func properties(s server) replicatest.Properties {
	place := func(t *testing.T, name string, body []byte) {
		name = filepath.Join(s.root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, body, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return replicatest.Properties{
		NoListAll: true, LargeBody: 1 << 20, ManyFiles: 60,
		PlaceForeign: func(t *testing.T, c replica.Client, level int, name string, body []byte) {
			place(t, filepath.Join(c.(*webdav.ReplicaClient).Path, "ltx", strconv.Itoa(level), name), body)
		},
		PlaceAt: func(t *testing.T, c replica.Client, name string, body []byte) {
			place(t, filepath.Join(c.(*webdav.ReplicaClient).Path, name), body)
		},
		Reopen: func(t *testing.T, c replica.Client) replica.Client {
			return newClient(t, s, c.(*webdav.ReplicaClient).Path)
		},
	}
}

func TestConformance(t *testing.T) {
	t.Cleanup(webdav.SetInMemory(128 << 10))
	run := func(name string, s server, canCreate bool) {
		t.Run(name, func(t *testing.T) {
			n := 0
			p := properties(s)
			p.NoCreate = !canCreate
			replicatest.Run(t, func(t *testing.T) replica.Client {
				n++
				return newClient(t, s, fmt.Sprintf("/some/r%d", n))
			}, p)
		})
	}
	run("go", goServer(t), true)
	run("apache", apacheServer(t, ""), false) // see TestCreateLTXFile_Apache
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

// Of 16 clients that create one file exactly one wins.
func TestCreateLTXFile_Clients(t *testing.T) {
	for name, s := range map[string]server{"go": goServer(t)} {
		t.Run(name, func(t *testing.T) {
			for txid := ltx.TXID(1); txid <= 5; txid++ {
				var bodies [16][]byte
				var winner atomic.Int64
				winner.Store(-1)
				var group errgroup.Group
				for i := range bodies {
					c := newClient(t, s, "/app.db")
					bodies[i] = encode(t, txid, uint64(i), 50<<10)
					group.Go(func() error {
						_, err := c.CreateLTXFile(t.Context(), 0, txid, txid, bytes.NewReader(bodies[i]))
						switch {
						case err == nil && !winner.CompareAndSwap(-1, int64(i)):
							return errors.New("a second call succeeds")
						case err != nil && !errors.Is(err, fs.ErrExist):
							return err
						}
						return nil
					})
				}
				if err := group.Wait(); err != nil {
					t.Fatal(err)
				}
				if winner.Load() < 0 {
					t.Fatal("no call succeeds")
				}
				if got, err := read(t.Context(), newClient(t, s, "/app.db"), txid, 0, 0); err != nil || !bytes.Equal(got, bodies[winner.Load()]) {
					t.Errorf("the file is not that of the winner: %d bytes, %v", len(got), err)
				}
			}
			if left, err := filepath.Glob(filepath.Join(s.root, "app.db/ltx/0/.*.tmp")); err != nil || len(left) > 0 {
				t.Errorf("temporary files are left: %q, %v", left, err)
			}
		})
	}
}

// Apache's locks are not exclusive, so that the client does not rely on them.
func TestCreateLTXFile_Apache(t *testing.T) {
	c := newClient(t, apacheServer(t, ""), "/app.db")
	body := encode(t, 1, 1, 50<<10)
	if _, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
	if _, err := read(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: %v", err)
	}
	if _, err := c.WriteLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(body)); err != nil {
		t.Error(err)
	}
}

// Servers without locks cannot create, and servers with them need no others.
func TestCreateLTXFile_NoLocks(t *testing.T) {
	s := goServer(t)
	inner := &dav.Handler{FileSystem: dav.Dir(s.root), LockSystem: dav.NewMemLS()}
	without := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "LOCK" {
			http.Error(w, "no", http.StatusMethodNotAllowed)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(without.Close)
	c := newClient(t, server{without.URL, s.root}, "/app.db")
	if _, err := c.CreateLTXFile(t.Context(), 0, 1, 1, bytes.NewReader(encode(t, 1, 0, 1))); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got error %v", err)
	}
	if _, err := read(t.Context(), c, 1, 0, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("afterwards: %v", err)
	}
}

func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) || errors.As(err, &p) && p.Permanent()
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
