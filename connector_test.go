package litestream_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/memory"
)

// faultyStores are the clients of URLs of the scheme faulty, by host.
var faultyStores sync.Map

func init() {
	litestream.RegisterReplicaClientFactory("faulty", func(_, host, _ string, _ url.Values, _ *url.Userinfo) (litestream.ReplicaClient, error) {
		client, ok := faultyStores.Load(host)
		if !ok {
			return nil, fmt.Errorf("no client %s", host)
		}
		return client.(litestream.ReplicaClient), nil
	})
}

// newFaulty returns a store that can fail, and the URL of a replica in it, which
// has secrets.
func newFaulty(t *testing.T, inner litestream.ReplicaClient) (*decorate.Fault, string) {
	t.Helper()
	host := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	store := decorate.NewFault(inner)
	faultyStores.Store(host, store)
	return store, "faulty://key:Pa55@" + host + "/app.db?token=Pa55"
}

// openURL opens a replica by its URL alone.
func openURL(t *testing.T, url string, opts *litestream.Options) *sql.DB {
	t.Helper()
	if opts == nil {
		opts = &litestream.Options{PollInterval: -1}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	db, err := openReplica(url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// TestOpen reads, writes and travels with one line to open.
func TestOpen(t *testing.T) {
	url := "file://" + filepath.ToSlash(t.TempDir())
	db := openURL(t, url, &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1})
	mustExec(t, db, "CREATE TABLE t (n); INSERT INTO t VALUES (1)")
	var txid string
	if err := db.QueryRow("SELECT litestream_sync()").Scan(&txid); err != nil || txid != "0000000000000001" {
		t.Fatal(txid, err)
	}
	mustExec(t, db, "UPDATE t SET n = 2")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openURL(t, url, nil)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := at(t, conn); got != "2" {
		t.Errorf("after the close: %s", got)
	}
	if _, err := conn.ExecContext(t.Context(), "PRAGMA litestream_txid = '"+txid+"'"); err != nil {
		t.Fatal(err)
	}
	if got := at(t, conn); got != "1" {
		t.Errorf("at the first transaction: %s", got)
	}
	if err := conn.Raw(func(c any) error {
		if _, ok := c.(interface{ Unwrap() driver.Conn }).Unwrap().(driver.ExecerContext); !ok {
			t.Errorf("the driver's connection is a %T", c)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// TestOpen_Errors finds the cause of each failure through database/sql, with the
// place and without a secret.
func TestOpen_Errors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		opts  litestream.Options
		fault *decorate.Rule
		stmt  string
		is    []error
		want  string
	}{
		{"no database", litestream.Options{}, &decorate.Rule{Match: decorate.Ops(decorate.OpList, decorate.OpListAll), Err: litestream.ErrNoDatabase}, "SELECT * FROM t", []error{litestream.ErrNoDatabase}, "replica holds no database"},
		{"not permitted", litestream.Options{}, &decorate.Rule{Err: fmt.Errorf("get: %w", fs.ErrPermission)}, "SELECT * FROM t", []error{fs.ErrPermission}, "permission denied"},
		{"read-only", litestream.Options{}, nil, "INSERT INTO t VALUES (2)", []error{litestream.ErrReadOnly}, "write mode is off"},
		{"transaction", litestream.Options{}, nil, "PRAGMA litestream_txid = '00000000000000ff'", []error{litestream.ErrTxNotAvailable}, "00000000000000ff"},
		{"bad time", litestream.Options{}, nil, "SELECT litestream_set_time('whenever')", nil, `"whenever"`},
		{"syntax", litestream.Options{}, nil, "SELEC 1", nil, "syntax error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := memory.NewReplicaClient()
			numberedReplica(t, client, 1)
			store, url := newFaulty(t, client)
			if tt.fault != nil {
				store.Add(*tt.fault)
			}
			tt.opts.PollInterval, tt.opts.OpenTimeout = -1, time.Second
			db := openURL(t, url, &tt.opts)
			_, err := db.Exec(tt.stmt)
			if err == nil {
				t.Fatal("no error")
			}
			for _, target := range tt.is {
				if !errors.Is(err, target) {
					t.Errorf("%v is not %v", err, target)
				}
			}
			text := err.Error()
			if !strings.Contains(text, tt.want) || strings.Contains(text, "Pa55") || strings.Contains(text, "invalid argument") || strings.Contains(text, "no such file") {
				t.Errorf("%s, want %s", text, tt.want)
			}
			if tt.is != nil && !strings.Contains(text, "faulty://test-open-errors") && !strings.Contains(text, "faulty://testopen") {
				t.Errorf("%s does not say where", text)
			}
		})
	}
	for url, want := range map[string]string{
		"none://bucket/path":             `"none"`,
		"file:///x?colour=red":           "colour",
		"faulty://key:Pa55@nowhere/path": "no client nowhere",
		"::":                             "replica",
	} {
		if db, err := openReplica(url, nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Pa55") {
			t.Errorf("open %s: %v, %v, want %s", url, db, err, want)
		}
	}
}

// TestOpen_ReadFails breaks storage under a connection that is open.
func TestOpen_ReadFails(t *testing.T) {
	client := memory.NewReplicaClient()
	p := numberedReplica(t, client, 1)
	p.Exec("CREATE TABLE big AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c LIMIT 2000) SELECT x, randomblob(200) b FROM c")
	store, url := newFaulty(t, client)
	db := openURL(t, url, &litestream.Options{PollInterval: -1, ReadTimeout: time.Second, CacheSize: -1, ReadAheadSize: -1})
	if _, err := db.Exec("SELECT 1 FROM t"); err != nil {
		t.Fatal(err)
	}
	remove := store.Add(decorate.Rule{Err: fmt.Errorf("get: %w", fs.ErrPermission)})
	err := db.QueryRow("SELECT sum(length(b)) FROM big").Scan(new(int))
	if code, _ := sqlitetest.ExtendedCode(err); !errors.Is(err, fs.ErrPermission) || code != int(litestream.CodeRead) || !strings.Contains(err.Error(), "disk I/O error: ") {
		t.Errorf("read: %v", err)
	}
	remove()
	if err := db.QueryRow("SELECT sum(length(b)) FROM big").Scan(new(int)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	store.Add(decorate.Rule{Hang: true})
	if _, err := db.Exec("PRAGMA shrink_memory"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := db.QueryRowContext(ctx, "SELECT sum(length(b)) FROM big WHERE x > 1").Scan(new(int)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a query that hangs: %v", err)
	}
}

// TestOpen_Hangs gives up an open that hangs.
func TestOpen_Hangs(t *testing.T) {
	client := memory.NewReplicaClient()
	numberedReplica(t, client, 1)
	store, url := newFaulty(t, client)
	remove := store.Add(decorate.Rule{Hang: true})
	db := openURL(t, url, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping: %v", err)
	}
	remove()
}

// TestOpen_HangsAtSchema gives up the first statement of a connection, which reads the
// schema, and a PRAGMA. Drivers do not interrupt these.
func TestOpen_HangsAtSchema(t *testing.T) {
	client := memory.NewReplicaClient()
	p := numberedReplica(t, client, 1)
	p.Exec("UPDATE t SET n = 2")
	store, url := newFaulty(t, client)
	db := openURL(t, url, &litestream.Options{PollInterval: -1, CacheSize: -1, ReadAheadSize: -1})
	conn, err := db.Conn(t.Context()) // keeps the database open
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	remove := store.Add(decorate.Rule{Hang: true})
	for _, stmt := range []string{"SELECT n FROM t", "PRAGMA litestream_txid = '0000000000000001'"} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		start := time.Now()
		_, err := db.ExecContext(ctx, stmt)
		took := time.Since(start)
		cancel()
		t.Logf("%s: %s", stmt, took)
		if !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second {
			t.Errorf("%s: %v after %s", stmt, err, took)
		}
	}
	remove()
	if got := at(t, conn); got != "2" {
		t.Errorf("afterwards: %s", got)
	}
}

// TestOpen_Conflict lets another writer take over.
func TestOpen_Conflict(t *testing.T) {
	dir := t.TempDir()
	url := "file://" + filepath.ToSlash(dir)
	buffer := filepath.Join(t.TempDir(), "buffer")
	write := &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1, WriteBufferPath: buffer}
	db := openURL(t, url, write)
	mustExec(t, db, "CREATE TABLE t (n); INSERT INTO t VALUES (1)")
	mustExec(t, db, "PRAGMA litestream_sync")
	other := openURL(t, url, &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1})
	mustExec(t, other, "UPDATE t SET n = 2")
	mustExec(t, other, "PRAGMA litestream_sync")
	mustExec(t, db, "UPDATE t SET n = 3")
	for _, stmt := range []string{"PRAGMA litestream_sync", "UPDATE t SET n = 4"} {
		_, err := db.Exec(stmt)
		if !errors.Is(err, litestream.ErrConflict) || !strings.Contains(err.Error(), url) {
			t.Errorf("%s: %v", stmt, err)
		}
	}
	if err := db.Close(); !errors.Is(err, litestream.ErrConflict) || !strings.Contains(err.Error(), buffer) {
		t.Errorf("close: %v", err)
	}
}

// TestOpen_CommitFails commits to a store that does not take it, by a statement and by
// a transaction of database/sql.
func TestOpen_CommitFails(t *testing.T) {
	for name, commit := range map[string]func(*sql.DB) error{
		"statement": func(db *sql.DB) error {
			_, err := db.Exec("UPDATE t SET n = 2")
			return err
		},
		"transaction": func(db *sql.DB) error {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec("UPDATE t SET n = 2"); err != nil {
				t.Fatal(err)
			}
			return tx.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := memory.NewReplicaClient()
			numberedReplica(t, client, 1)
			store, url := newFaulty(t, client)
			db := openURL(t, url, &litestream.Options{WriteEnabled: true, SyncOnCommit: true, PollInterval: -1,
				WriteBufferPath: filepath.Join(t.TempDir(), "buffer"), ReadTimeout: 200 * time.Millisecond, CloseTimeout: 200 * time.Millisecond})
			if err := db.Ping(); err != nil {
				t.Fatal(err)
			}
			store.Add(decorate.Rule{Match: decorate.Ops(decorate.OpCreate, decorate.OpWrite), Err: fmt.Errorf("put: %w", fs.ErrPermission)})
			err := commit(db)
			if !errors.Is(err, fs.ErrPermission) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "faulty://testopen") {
				t.Errorf("commit: %v", err)
			}
		})
	}
}

// TestOpen_Concurrent opens and closes from several goroutines.
func TestOpen_Concurrent(t *testing.T) {
	dir := t.TempDir()
	numberedReplica(t, file.NewReplicaClient(dir), 7)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				db, err := openReplica("file://"+filepath.ToSlash(dir), &litestream.Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				if err := db.QueryRow("SELECT n FROM t").Scan(&n); err != nil || n != 7 {
					t.Error(n, err)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestVFSOf reads the statistics of the database of a connector. They show nothing
// secret.
func TestVFSOf(t *testing.T) {
	client := memory.NewReplicaClient()
	ltxtest.New(t, client, ltxtest.Options{}).Exec("CREATE TABLE t (n)")
	_, url := newFaulty(t, client)
	connector, err := newConnector(url, &litestream.Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	stats := litestream.VFSOf(connector).Stats()
	if len(stats) != 1 || stats[0].TXID == 0 || !strings.HasPrefix(stats[0].ID, "faulty://") || strings.Contains(stats[0].ID+stats[0].Place, "Pa55") {
		t.Errorf("statistics: %+v", stats)
	}
	if vfs := litestream.VFSOf(nil); vfs != nil {
		t.Errorf("without a connector there is %v", vfs)
	}
}

// closingClient is a client that can be closed.
type closingClient struct {
	*memory.ReplicaClient
	closed *atomic.Int64 // number of times
	err    error         // of a close
}

func (c closingClient) Close() error {
	c.closed.Add(1)
	return c.err
}

// TestNewConnector_ClosesClient makes a connector. It closes the client by which it
// finds out whether there can be one for the URL, and says if that fails.
func TestNewConnector_ClosesClient(t *testing.T) {
	var closed atomic.Int64
	broken := errors.New("the client does not close")
	litestream.RegisterReplicaClientFactory("closing", func(_, host, _ string, _ url.Values, _ *url.Userinfo) (litestream.ReplicaClient, error) {
		client := closingClient{ReplicaClient: memory.NewReplicaClient(), closed: &closed}
		if host == "broken" {
			client.err = broken
		}
		return client, nil
	})
	for host, want := range map[string]error{"whole": nil, "broken": broken} {
		closed.Store(0)
		connector, err := newConnector("closing://"+host+"/app.db", nil)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", host, err, want)
		}
		if n := closed.Load(); n != 1 {
			t.Errorf("%s: the client was closed %d times", host, n)
		}
		if err == nil {
			if err := connector.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
