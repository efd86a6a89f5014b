package nats_test

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/ltxvfs/litestream/replica"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

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

var vfsNames atomic.Int64

// openVFS opens a database of a client.
func openVFS(t testing.TB, client replica.Client, opts *litestream.Options) *sql.DB {
	t.Helper()
	opts.Logger = testlog.New(t, nil)
	vfs := litestream.NewVFS(client, opts)
	name := fmt.Sprintf("nats-test-%d", vfsNames.Add(1))
	if err := vfstest.Register(name, vfs); err != nil {
		t.Fatal(err)
	}
	db, err := sqlitetest.Open("file:app.db?vfs=" + name)
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
	return db
}

// newPrimary makes a replica with a snapshot of 16 MB that does not compress, and two
// files of level 0. The chunks have the default size, unless chunkSize is set.
func newPrimary(t testing.TB, url, bucket string, chunkSize int64) *ltxtest.Primary {
	writer := newClient(t, url, bucket)
	writer.ChunkSize = chunkSize
	p := ltxtest.New(t, writer, ltxtest.Options{})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 4000) INSERT INTO t SELECT i, substr(?, i * 4000 - 3999, 4000) FROM c", ltxtest.Noise(4000*4000))
	at := p.Snapshot()
	p.DeleteLevelBelow(0, at+1)
	p.Exec("UPDATE t SET b = zeroblob(4000) WHERE id = 1000")
	p.Exec("UPDATE t SET b = zeroblob(4001) WHERE id = 1000")
	return p
}

// What open, the first row, a random row, a poll and time travel ask for. A read of
// a page transfers one or two messages of the object.
func TestTrace(t *testing.T) {
	noEnvironment(t)
	url := testServer(t)
	bucket := newBucket(t, url)
	p := newPrimary(t, url, bucket, 0)
	rec := newRecorder(t, url)
	client := newClient(t, rec.url, bucket)
	db := openVFS(t, client, &litestream.Options{PollInterval: time.Hour, ReadAheadSize: -1, IndexSize: 1 << 20})
	one := func(query string) (got string) {
		t.Helper()
		if err := db.QueryRow(query).Scan(&got); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return got
	}
	set := func(pragma string) {
		t.Helper()
		if _, err := db.Exec(pragma); err != nil {
			t.Fatalf("%s: %v", pragma, err)
		}
	}
	var out strings.Builder
	step := func(name string, limit int) {
		t.Helper()
		text, requests, received := rec.take()
		fmt.Fprintf(&out, "%s: %d requests\n%s\n", name, requests, text)
		if received > limit {
			t.Errorf("%s transfers %d bytes, want at most %d", name, received, limit)
		}
		t.Logf("%s: %d requests, %d bytes", name, requests, received)
	}
	one("PRAGMA litestream_txid")
	step("open", 700<<10)
	one("SELECT count(*) FROM sqlite_schema")
	step("first row", 300<<10)
	one("SELECT length(b) FROM t WHERE id = 2500")
	step("random row", 600<<10)
	p.Exec("UPDATE t SET b = NULL WHERE id = 1")
	set(fmt.Sprintf("PRAGMA litestream_wait = '%s'", p.TXID()))
	step("follow", 100<<10)
	set(fmt.Sprintf("PRAGMA litestream_txid = '%s'", p.TXID()-2))
	step("travel", 100<<10)
	golden(t, "trace.txt", out.String())
}
