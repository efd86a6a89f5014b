package litestream_test

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/decorate"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
)

// scanBig reads every page of the database that bigReplica makes; scanned is
// its result.
const (
	scanBig = "SELECT count(*), sum(length(x)), sum(y) FROM big"
	scanned = "80|320000|3240"
)

// bigReplica makes a replica whose pages are read one by one from storage,
// because nothing is cached.
func bigReplica(t *testing.T, opts litestream.Options) (client *memory.ReplicaClient, fault *decorate.Fault, conn *sql.Conn, log *testlog.Buffer) {
	t.Helper()
	client = memoryClient()
	p := numberedReplica(t, client, 1)
	p.Exec("CREATE TABLE big (x, y)")
	p.Exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80) INSERT INTO big SELECT zeroblob(4000), i FROM n")
	fault = decorate.NewFault(client)
	log = new(testlog.Buffer)
	opts.Logger, opts.CacheSize, opts.PollInterval = testlog.New(t, log), -1, -1
	vfsName, _ := newVFS(t, fault, &opts)
	conn = openConn(t, vfsName, "app.db")
	mustExec(t, conn, "PRAGMA cache_size = 5")
	fault.Reset()
	return client, fault, conn, log
}

// wantFailure checks that the status and the log hold the text of an error.
func wantFailure(t testing.TB, conn *sql.Conn, log *testlog.Buffer, texts ...string) {
	t.Helper()
	e := status(t, conn).LastError
	for _, text := range texts {
		if e == nil || e.Op != "read" || !strings.Contains(e.Text, text) {
			t.Errorf("last error is %v, want %q", e, text)
		}
		if !strings.Contains(log.String(), text) {
			t.Errorf("the log does not say %q", text)
		}
	}
}

// TestRead_Transient makes reads fail in transient ways. No query notices.
func TestRead_Transient(t *testing.T) {
	for name, rule := range map[string]decorate.Rule{
		"fails":          {Err: errDown},
		"fails twice":    {Err: errDown, Times: 2},
		"cut off":        {Err: io.ErrUnexpectedEOF, At: decorate.InBody, N: 20},
		"reset":          {Err: errors.New("connection reset by peer"), At: decorate.InBody, N: 1},
		"ends too early": {Err: io.EOF, At: decorate.InBody, N: 30},
		"empty":          {Err: io.EOF, At: decorate.InBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, fault, conn, log := bigReplica(t, litestream.Options{})
			for _, skip := range []int{0, 3, 40} {
				rule.Match, rule.Skip, rule.Times = decorate.Ops(decorate.OpRead), skip, max(rule.Times, 1)
				remove := fault.Add(rule)
				before := status(t, conn).Retries
				if got := mustQuery(t, conn, scanBig); got != scanned {
					t.Errorf("reads %s", got)
				}
				if n := status(t, conn).Retries - before; n != int64(rule.Times) {
					t.Errorf("%d retries, want %d", n, rule.Times)
				}
				remove()
			}
			if e := status(t, conn).LastError; e != nil || strings.Contains(log.String(), "level=ERROR") {
				t.Errorf("last error is %v", e)
			}
		})
	}
}

// TestRead_Permanent makes reads fail permanently, and a query fails at once.
// SQLite then ends the transaction. The next one works when storage does.
func TestRead_Permanent(t *testing.T) {
	_, fault, conn, log := bigReplica(t, litestream.Options{ReadTimeout: time.Hour})
	for range 2 {
		mustExec(t, conn, "BEGIN")
		mustQuery(t, conn, "SELECT * FROM t")
		remove := fault.Add(decorate.Rule{Match: decorate.Ops(decorate.OpRead), Skip: 10, Err: fmt.Errorf("403: %w", fs.ErrPermission)})
		before := fault.Faults()
		err := wantCode(t, conn, scanBig, litestream.CodeIOErr)
		if code, _ := sqlitetest.ExtendedCode(err); code != int(litestream.CodeRead) {
			t.Errorf("extended code %d", code)
		}
		if n := fault.Faults() - before; n != 1 {
			t.Errorf("tried %d times", n)
		}
		wantFailure(t, conn, log, "403", fs.ErrPermission.Error(), "0/0000000000000003-0000000000000003.ltx")
		remove()
		if got := mustQuery(t, conn, scanBig); got != scanned {
			t.Errorf("reads %s after the failure", got)
		}
	}
}

// TestRead_Timeout checks that ReadTimeout bounds a read that hangs or never
// succeeds.
func TestRead_Timeout(t *testing.T) {
	for name, c := range map[string]struct {
		rule decorate.Rule
		text string
	}{
		"hangs":         {decorate.Rule{Hang: true}, "deadline exceeded"},
		"hangs in body": {decorate.Rule{Hang: true, At: decorate.InBody, N: 5}, "deadline exceeded"},
		"always fails":  {decorate.Rule{Err: errDown}, errDown.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, fault, conn, log := bigReplica(t, litestream.Options{ReadTimeout: 50 * time.Millisecond})
			c.rule.Match = decorate.Ops(decorate.OpRead)
			remove := fault.Add(c.rule)
			start := time.Now()
			wantCode(t, conn, scanBig, litestream.CodeIOErr)
			if d := time.Since(start); d > 10*time.Second {
				t.Errorf("took %s", d)
			}
			wantFailure(t, conn, log, c.text, "0/000000000000000")
			wantCode(t, conn, "PRAGMA litestream_txid = '0000000000000001'", litestream.CodeIOErr)
			remove()
			// On a busy machine a healthy read may exceed that limit, too.
			waitFor(t, "reads to work again", func() bool { return result(conn, scanBig) == scanned })
		})
	}
}

// TestRead_Corrupt damages one frame of a file after the database was opened.
// Reads of its page return an error that names the file, and other pages are
// unaffected.
func TestRead_Corrupt(t *testing.T) {
	for name, damage := range map[string]func(frame []byte){
		"page number": func(f []byte) { f[3] ^= 1 },
		"flags":       func(f []byte) { f[4] = 0xff },
		"size":        func(f []byte) { f[9]++ },
		"large size":  func(f []byte) { f[6] = 0x7f },
		"data": func(f []byte) {
			for i := 10; i < len(f); i++ {
				f[i] = 0xff
			}
		},
		"zeros": func(f []byte) { clear(f) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, _, conn, log := bigReplica(t, litestream.Options{ReadTimeout: time.Minute})
			body, err := client.OpenLTXFile(t.Context(), 0, 3, 3, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			good, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			f, err := ltxio.ParseFile(good, 3, 3)
			if err != nil {
				t.Fatal(err)
			}
			bad := bytes.Clone(good)
			f.Index.Each(func(e ltxio.Entry) bool {
				if e.Pgno == 40 {
					damage(bad[e.Offset : e.Offset+int64(e.Size)])
				}
				return e.Pgno < 40
			})
			put := func(b []byte) {
				if _, err := client.WriteLTXFile(t.Context(), 0, 3, 3, bytes.NewReader(b)); err != nil {
					t.Fatal(err)
				}
			}
			put(bad)
			err = wantCode(t, conn, scanBig, litestream.CodeCorrupt)
			if err != nil && sqlitetest.Text(err) != "database disk image is malformed" {
				t.Errorf("error is %v", err)
			}
			wantFailure(t, conn, log, "page 40", "0/0000000000000003-0000000000000003.ltx", litestream.ErrCorrupt.Error())
			if got := mustQuery(t, conn, "SELECT y FROM big WHERE rowid = 5"); got != "5" {
				t.Errorf("another page reads %s", got)
			}
			put(good)
			if got := mustQuery(t, conn, scanBig); got != scanned {
				t.Errorf("reads %s from the mended file", got)
			}
		})
	}
}

// TestRead_SharedFailure has connections wait for one fetch that fails. Each
// gets an error, none hangs, and all of them work afterwards.
func TestRead_SharedFailure(t *testing.T) {
	client := memoryClient()
	p := numberedReplica(t, client, 1)
	p.Exec("CREATE TABLE big (x)")
	p.Exec("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) INSERT INTO big SELECT zeroblob(4000) FROM n")
	fault := decorate.NewFault(client)
	vfsName, _ := newVFS(t, fault, &litestream.Options{CacheSize: -1, PollInterval: -1})
	var conns []*sql.Conn
	for range 6 {
		conn := openConn(t, vfsName, "app.db")
		mustExec(t, conn, "PRAGMA cache_size = 5")
		at(t, conn)
		conns = append(conns, conn)
	}
	const scan = "SELECT sum(length(x)) FROM big"
	var arrived atomic.Int64
	release := make(chan struct{})
	remove := fault.Add(decorate.Rule{
		Match:  decorate.Ops(decorate.OpRead),
		Before: func(decorate.Call) { arrived.Add(1); <-release },
		Err:    fs.ErrPermission,
	})
	errs := make(chan error)
	for _, conn := range conns {
		go func() {
			_, err := queryText(conn, scan)
			errs <- err
		}()
	}
	waitFor(t, "a fetch", func() bool { return arrived.Load() > 0 })
	close(release)
	for range conns {
		if err := <-errs; sqliteCode(t, err) != litestream.CodeIOErr {
			t.Errorf("read: %v", err)
		}
	}
	remove()
	for _, conn := range conns {
		if got := mustQuery(t, conn, scan); got != "120000" {
			t.Errorf("reads %s", got)
		}
	}
}

// TestUnlocked has SQLite take no locks: a connection keeps its first view.
func TestUnlocked(t *testing.T) {
	client := memoryClient()
	p := ltxtest.New(t, client, ltxtest.Options{})
	p.Exec("CREATE TABLE t (n); INSERT INTO t VALUES (1)")
	p.Exec("UPDATE t SET n = n + 1")
	vfsName, vfs := newVFS(t, client, &litestream.Options{PollInterval: time.Millisecond})
	follower := openConn(t, vfsName, "app.db")
	var pinned []*sql.Conn
	for _, param := range []string{"nolock=1", "immutable=1", "nolock=yes", "immutable=TRUE", "nolock=on", "nolock=2", "immutable=01x", "nolock=0x1", "immutable=0X0000000ffz"} {
		conn := openConn(t, vfsName, "app.db", param)
		if param != "immutable=1" {
			at(t, conn) // one of them reads for the first time after the change
		}
		pinned = append(pinned, conn)
	}
	var moving []*sql.Conn
	for _, param := range []string{"nolock=0", "immutable=no", "nolock=", "nolock=off", "immutable=x", "nolock=256", "nolock=0x", "immutable=0xg1", "nolock=0x100", "immutable=0x80000001"} {
		moving = append(moving, openConn(t, vfsName, "app.db", param))
	}
	p.Exec("UPDATE t SET n = n + 1; CREATE TABLE u (x)")
	waitFor(t, "news", func() bool { return at(t, follower) == "3" })
	for i, conn := range pinned {
		if got := at(t, conn); got != "2" {
			t.Errorf("pinned connection %d reads %s", i, got)
		}
		if got := mustQuery(t, conn, "PRAGMA litestream_txid"); got != "0000000000000002" {
			t.Errorf("pinned connection %d is at %s", i, got)
		}
		wantCode(t, conn, "PRAGMA litestream_time = latest", litestream.CodeError)
		if got := mustQuery(t, conn, "PRAGMA integrity_check"); got != "ok" {
			t.Errorf("pinned connection %d: integrity check: %s", i, got)
		}
	}
	for i, conn := range moving {
		if got := at(t, conn); got != "3" {
			t.Errorf("connection %d reads %s", i, got)
		}
		mustExec(t, conn, "PRAGMA litestream_txid = '0000000000000001'")
		if got := at(t, conn); got != "1" {
			t.Errorf("connection %d travels to %s", i, got)
		}
	}
	if n := len(vfs.Stats()); n != 1 {
		t.Errorf("%d databases", n)
	}
}
