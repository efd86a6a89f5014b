package s3_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"path"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/storetest/sqltest"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/replica"
)

var vfsNames atomic.Int64

// openVFS opens a database of a client.
func openVFS(t testing.TB, client replica.Client, opts *litestream.Options) (*sql.DB, error) {
	t.Helper()
	vfs := litestream.NewVFS(client, opts)
	name := fmt.Sprintf("s3-test-%d", vfsNames.Add(1))
	if err := vfstest.Register(name, vfs); err != nil {
		t.Fatal(err)
	}
	db, err := sqlitetest.Open("file:app.db?mode=ro&vfs=" + name)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		db.Close()
		if err := vfs.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return db, db.Ping()
}

func TestSQL(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	sqltest.Run(t, sqltest.Store{Addr: s.addr, NewReplica: func(t testing.TB) func(http.RoundTripper) replica.Client {
		path := newPath()
		return func(tr http.RoundTripper) replica.Client { return s.client(t, path, tr) }
	}})
}

// TestPlaces opens databases where something else lies than LTX files.
func TestPlaces(t *testing.T) {
	s := testServer(t)
	noEnvironment(t)
	sqltest.RunPlaces(t, func(t testing.TB) sqltest.Root {
		root := newPath()
		return sqltest.Root{
			Client: func(at string) replica.Client { return s.client(t, path.Join(root, at), nil) },
			Put:    func(name string, body []byte) { s.put(t, path.Join(root, name), body) },
		}
	})
}

func BenchmarkScan(b *testing.B) {
	s := testServer(b)
	noEnvironment(b)
	path := newPath()
	sqltest.Scan(b, s.client(b, path, nil), func() replica.Client { return s.client(b, path, nil) })
}
