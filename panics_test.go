package litestream_test

import (
	"context"
	"io"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// panicky is a client that panics on demand in one of its methods, or in a
// method of what they return.
type panicky struct {
	inner *memory.ReplicaClient
	where atomic.Pointer[string]
}

func (c *panicky) set(where string) { c.where.Store(&where) }

func (c *panicky) in(where string) {
	if w := c.where.Load(); w != nil && *w == where {
		panic("panic in " + where)
	}
}

func (c *panicky) Init(context.Context) error {
	c.in("Init")
	return nil
}

func (c *panicky) LTXFiles(ctx context.Context, level int, seek ltx.TXID, meta bool) (ltx.FileIterator, error) {
	c.in("LTXFiles")
	itr, err := c.inner.LTXFiles(ctx, level, seek, meta)
	return panickyIterator{itr, c}, err
}

func (c *panicky) OpenLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, offset, size int64) (io.ReadCloser, error) {
	c.in("OpenLTXFile")
	r, err := c.inner.OpenLTXFile(ctx, level, minTXID, maxTXID, offset, size)
	return panickyBody{r, c}, err
}

func (c *panicky) WriteLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	return c.inner.WriteLTXFile(ctx, level, minTXID, maxTXID, r)
}

func (c *panicky) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	return c.inner.DeleteLTXFiles(ctx, a)
}

// panickyAll is a panicky that can also list all levels at once.
type panickyAll struct{ *panicky }

func (c panickyAll) AllLTXFiles(ctx context.Context, meta bool) (ltx.FileIterator, error) {
	c.in("AllLTXFiles")
	itr, err := c.inner.AllLTXFiles(ctx, meta)
	return panickyIterator{itr, c.panicky}, err
}

type panickyIterator struct {
	ltx.FileIterator
	c *panicky
}

func (itr panickyIterator) Next() bool {
	itr.c.in("Next")
	return itr.FileIterator.Next()
}

func (itr panickyIterator) Item() *ltx.FileInfo {
	itr.c.in("Item")
	return itr.FileIterator.Item()
}

func (itr panickyIterator) Close() error {
	itr.c.in("iterator's Close")
	return itr.FileIterator.Close()
}

type panickyBody struct {
	io.ReadCloser
	c *panicky
}

func (b panickyBody) Read(p []byte) (int, error) {
	b.c.in("Read")
	return b.ReadCloser.Read(p)
}

func (b panickyBody) Close() error {
	b.c.in("body's Close")
	return b.ReadCloser.Close()
}

var panicPlaces = []string{
	"Init", "LTXFiles", "AllLTXFiles", "Next", "Item", "iterator's Close", "OpenLTXFile", "Read", "body's Close",
}

// TestPanics_AtOpen has a client panic while a database is opened. The open
// returns an error, and the same database opens once the client works.
func TestPanics_AtOpen(t *testing.T) {
	for _, where := range panicPlaces {
		t.Run(where, func(t *testing.T) {
			c := &panicky{inner: memoryClient()}
			numberedReplica(t, c, 1)
			var client litestream.ReplicaClient = c
			if where == "AllLTXFiles" {
				client = panickyAll{c}
			}
			var log testlog.Buffer
			vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log)})
			c.set(where)
			start := time.Now()
			failsToOpen(t, vfsName, "app.db", &log, "panic in "+where)
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("took %s: a panic is nothing to retry", d)
			}
			c.set("")
			if got := at(t, openConn(t, vfsName, "app.db")); got != "1" {
				t.Errorf("reads %s", got)
			}
		})
	}
}

// TestPanics_NewClient has the function panic that makes the clients.
func TestPanics_NewClient(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	var calls atomic.Int64
	newClient := func() (litestream.ReplicaClient, error) {
		if calls.Add(1)%2 == 1 {
			panic("no client today")
		}
		return client, nil
	}
	litestream.RegisterReplicaClientFactory("panic-test", func(string, string, string, url.Values, *url.Userinfo) (litestream.ReplicaClient, error) {
		return newClient()
	})
	var log testlog.Buffer
	vfsName, _ := newVFS(t, nil, &litestream.Options{
		Logger:    testlog.New(t, &log),
		NewClient: func(string) (litestream.ReplicaClient, error) { return newClient() },
	})
	for _, params := range [][]string{nil, {"replica_url=panic-test://x"}} {
		failsToOpen(t, vfsName, "app.db", &log, "no client today", params...)
		if got := at(t, openConn(t, vfsName, "app.db", params...)); got != "1" {
			t.Errorf("%v: reads %s", params, got)
		}
	}
}

// TestPanics_InUse has a client panic in the calls of an open database: in a
// read, in the poller, in travel. Everything works again once the client does.
func TestPanics_InUse(t *testing.T) {
	for _, where := range panicPlaces[1:] {
		t.Run(where, func(t *testing.T) {
			c := &panicky{inner: memoryClient()}
			p := numberedReplica(t, c, 1)
			p.Exec("CREATE TABLE big (x)")
			p.Exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50) INSERT INTO big SELECT zeroblob(4000) FROM n")
			var client litestream.ReplicaClient = c
			if where == "AllLTXFiles" {
				client = panickyAll{c}
			}
			var log testlog.Buffer
			vfsName, _ := newVFS(t, client, &litestream.Options{Logger: testlog.New(t, &log), PollInterval: time.Millisecond, CacheSize: -1})
			conn := openConn(t, vfsName, "app.db")
			mustExec(t, conn, "PRAGMA cache_size = 5")
			const scan = "SELECT count(*), sum(length(x)) FROM big"
			mustQuery(t, conn, scan)
			listing := where != "OpenLTXFile" && where != "Read" && where != "body's Close"

			c.set(where)
			if listing {
				wantCode(t, conn, "PRAGMA litestream_history", litestream.CodeIOErr)
				mustQuery(t, conn, scan)
			} else {
				wantCode(t, conn, scan, litestream.CodeIOErr)
				p.Exec("UPDATE t SET n = n + 1") // the poller reads this
			}
			wantCode(t, conn, "PRAGMA litestream_txid = '0000000000000001'", litestream.CodeIOErr)
			if e := status(t, conn).LastError; e == nil || !strings.Contains(e.Text, "panic in "+where) {
				t.Errorf("last error is %v", e)
			}
			// The poller lists a single level where it can.
			if where != "AllLTXFiles" {
				waitFor(t, "the poller to fail", func() bool { return strings.Contains(log.String(), "poll failed") })
			}

			c.set("")
			p.Exec("UPDATE t SET n = 9")
			waitFor(t, "the poller to go on", func() bool { return at(t, conn) == "9" })
			if got := mustQuery(t, conn, scan); got != "50|200000" {
				t.Errorf("reads %s", got)
			}
		})
	}
}
