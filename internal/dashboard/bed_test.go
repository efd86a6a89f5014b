package dashboard

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/memory"
)

// bed is databases of a VFS, each with a primary of its own.
type bed struct {
	t       testing.TB
	vfs     *litestream.VFS
	name    string // of the VFS
	clients map[string]*store
}

// store is the replica of a database of a bed.
type store struct {
	memory *memory.ReplicaClient
	fault  *decorate.Fault
	trace  *decorate.Trace
}

// replicaOf is a replica with a place of its own.
type replicaOf struct {
	*decorate.Trace
	place string
}

func (r replicaOf) ReplicaIdentity() string { return r.place }

var beds atomic.Int64

// newBed registers a VFS whose databases are in memory.
func newBed(t testing.TB, opts litestream.Options) *bed {
	t.Helper()
	b := &bed{t: t, name: fmt.Sprintf("dashboard-%d", beds.Add(1)), clients: make(map[string]*store)}
	if opts.Logger == nil {
		opts.Logger = testlog.New(t, nil)
	}
	opts.NewClient = func(name string) (litestream.ReplicaClient, error) {
		s := b.clients[name]
		if s == nil {
			return nil, nil
		}
		return replicaOf{s.trace, "memory://bucket/" + name}, nil
	}
	b.vfs = litestream.NewVFS(nil, &opts)
	if err := vfstest.Register(b.name, b.vfs); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.vfs.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// add makes a replica under a name.
func (b *bed) add(name string) *store {
	s := &store{memory: memory.NewReplicaClient()}
	s.fault = decorate.NewFault(s.memory)
	s.trace = decorate.NewTrace(s.fault)
	b.clients[name] = s
	return s
}

// primary makes a replica under a name with a table of rows, and returns its primary.
// The newest transaction is some seconds old.
func (b *bed) primary(name string, rows int) (*store, *ltxtest.Primary) {
	b.t.Helper()
	s := b.add(name)
	p := ltxtest.New(b.t, s.memory, ltxtest.Options{PageSize: 1024, Start: time.Now().Add(-2 * time.Minute), Step: time.Second})
	p.Exec("CREATE TABLE numbers (id INTEGER PRIMARY KEY, n INT, text); CREATE INDEX by_text ON numbers (text)")
	p.Exec(fmt.Sprintf("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < %d) INSERT INTO numbers SELECT i, i %% 7, 'text ' || i FROM c", rows))
	return s, p
}

// open opens a connection, which ends with the test.
func (b *bed) open(name string) *sql.DB {
	b.t.Helper()
	db, err := vfstest.Open("file:" + url.PathEscape(name) + "?vfs=" + b.name)
	if err != nil {
		b.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	b.t.Cleanup(func() { _ = db.Close() })
	if err := db.Ping(); err != nil {
		b.t.Fatal(err)
	}
	return db
}

// exec runs a statement.
func exec(t testing.TB, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}

// count returns the result of a query of one number.
func count(t testing.TB, db *sql.DB, query string) (n int64) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// ask asks a handler for a view.
func ask[T any](t testing.TB, h http.Handler, query string) (answer T) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/?"+query, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: status %d: %s", query, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// one returns the database of a page that has one.
func one(t testing.TB, h http.Handler) databaseData {
	t.Helper()
	d := ask[pageData](t, h, "view=data")
	if len(d.Databases) != 1 {
		t.Fatalf("%d databases: %+v", len(d.Databases), d)
	}
	return d.Databases[0]
}

// detailOf returns the details of the database of a page that has one.
func detailOf(t testing.TB, h http.Handler) *detailData {
	t.Helper()
	d := ask[pageData](t, h, "view=data&db="+one(t, h).ID)
	if d.Detail == nil {
		t.Fatal("no details")
	}
	return d.Detail
}

// await waits until a condition holds.
func await(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s", what)
		}
	}
}

// tempFile returns a path in a folder of the test.
func tempFile(t testing.TB) string { return filepath.Join(t.TempDir(), "file") }
