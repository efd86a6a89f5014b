package sftp_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/storetest/sftptest"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/replica"
)

func TestSQL(t *testing.T) {
	s := sftptest.New(t)
	sqltest.Run(t, sqltest.Store{
		Addr: s.Addr,
		NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
			path := t.TempDir()
			return func(rt http.RoundTripper) replica.Client {
				c := newClient(t, s, path)
				if tr, ok := rt.(*http.Transport); ok {
					c.Dial = tr.DialContext
				}
				return c
			}
		},
	})
}

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	s := sftptest.New(t)
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		root := t.TempDir()
		return sqltest.Root{
			Client: func(at string) replica.Client { return newClient(t, s, filepath.Join(root, at)) },
			Put: func(name string, body []byte) {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, body, 0o666); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// TestTrace compares the connections and requests of common operations with a
// golden file.
func TestTrace(t *testing.T) {
	s := sftptest.New(t)
	path := t.TempDir()
	sqltest.Trace(t, newClient(t, s, path), newClient(t, s, path), s.Take)
}

func BenchmarkScan(b *testing.B) {
	s := sftptest.New(b)
	path := b.TempDir()
	sqltest.Scan(b, newClient(b, s, path), func() replica.Client { return newClient(b, s, path) })
}
