package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver sqlite3
	"github.com/psanford/sqlite3vfs"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// followTime limits the time until a reader sees a transaction.
const followTime = 30 * time.Second

// interopReader is a SQLite connection through our VFS.
type interopReader struct {
	conn  *sql.Conn
	vfs   *litestream.VFS
	close func() // closes it before the test ends
}

// vfsCount numbers the VFSs, because SQLite never forgets their names.
var vfsCount atomic.Int64

// openReader opens a replica for reading. It is closed when the test ends.
func openReader(t *testing.T, client litestream.ReplicaClient) *interopReader {
	t.Helper()
	return openReplica(t, client, "mode=ro", &litestream.Options{PollInterval: 50 * time.Millisecond, Logger: testLogger(t)})
}

// openReplica opens a replica. It is closed when the test ends.
func openReplica(t *testing.T, client litestream.ReplicaClient, mode string, opts *litestream.Options) *interopReader {
	t.Helper()
	vfs := litestream.NewVFS(client, opts)
	name := fmt.Sprintf("interop-%d", vfsCount.Add(1))
	if err := sqlite3vfs.RegisterVFS(name, vfs); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite3", "file:app.db?"+mode+"&vfs="+name)
	if err != nil {
		t.Fatal(err)
	}
	// Time travel is per connection, so the test uses a single one.
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &interopReader{conn: conn, vfs: vfs}
	r.close = sync.OnceFunc(func() {
		if err := errors.Join(conn.Close(), db.Close(), vfs.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.close)
	return r
}

func (r *interopReader) query(t *testing.T, query string) string {
	t.Helper()
	got, err := queryText(t.Context(), r.conn, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return got
}

// wantState checks the content of the tables and the integrity of the database.
func (r *interopReader) wantState(t *testing.T, want string) {
	t.Helper()
	if got := databaseState(t, r.conn); got != want {
		t.Errorf("read through the VFS:\n%s\nwant:\n%s", got, want)
	}
	if got := r.query(t, "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("integrity check: %s", got)
	}
}

// follow waits until the connection sees a transaction.
func (r *interopReader) follow(t *testing.T, txid ltx.TXID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), followTime)
	defer cancel()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		got, err := queryText(ctx, r.conn, "PRAGMA litestream_txid")
		if err == nil && got >= txid.String() {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("transaction %s is not seen within %v: at %s, error %v", txid, followTime, got, err)
		}
	}
}

// databaseState returns the whole content of the tables of makeHistory. It
// reads both tables and the index.
func databaseState(t *testing.T, q querier) string {
	t.Helper()
	var b strings.Builder
	for _, query := range []string{
		"SELECT type, name, sql FROM sqlite_schema ORDER BY name",
		"SELECT * FROM kinds ORDER BY id",
		"SELECT id, kind_id, n, hex(body) FROM items ORDER BY id",
		"SELECT kind, count(*), total(n) FROM kinds LEFT JOIN items ON kind_id = kinds.id GROUP BY kind ORDER BY kind",
	} {
		got, err := queryText(t.Context(), q, query)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		b.WriteString(got + "\n")
	}
	return b.String()
}

// querier is a database or a connection to it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// queryText returns the result of a query as text that is the same for both
// drivers. Values are separated by spaces and rows by newlines.
func queryText(ctx context.Context, q querier, query string) (string, error) {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values, dest := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return "", err
		}
		words := make([]string, len(columns))
		for i, v := range values {
			words[i] = v.String
			if !v.Valid {
				words[i] = "NULL"
			}
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n"), rows.Err()
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
