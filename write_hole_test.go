package litestream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/superfly/ltx"
)

// take removes files from a replica, and returns a function that puts them
// back.
func (c *liar) take(t testing.TB, which func(f *ltx.FileInfo) bool) (names []string, putBack func()) {
	t.Helper()
	var gone []*ltx.FileInfo
	bodies := make(map[ltx.FileInfo][]byte)
	for _, f := range filesOf(t, c) {
		if !which(f) {
			continue
		}
		r, err := c.OpenLTXFile(context.Background(), f.Level, f.MinTXID, f.MaxTXID, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		bodies[*f] = b
		gone = append(gone, f)
		names = append(names, fmt.Sprintf("%d/%s", f.Level, ltx.FormatFilename(f.MinTXID, f.MaxTXID)))
	}
	if err := c.DeleteLTXFiles(context.Background(), gone); err != nil {
		t.Fatal(err)
	}
	return names, func() {
		for f, b := range bodies {
			if _, err := c.WriteLTXFile(context.Background(), f.Level, f.MinTXID, f.MaxTXID, bytes.NewReader(b)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// holes are files that vanish from a replica at transaction 6.
var holes = map[string]func(f *ltx.FileInfo) bool{
	"all":     func(*ltx.FileInfo) bool { return true },
	"first":   func(f *ltx.FileInfo) bool { return f.MinTXID == 1 },
	"middle":  func(f *ltx.FileInfo) bool { return f.MinTXID == 3 },
	"last":    func(f *ltx.FileInfo) bool { return f.MaxTXID == 6 },
	"rolled":  func(f *ltx.FileInfo) bool { return f.MaxTXID > 3 },
	"but one": func(f *ltx.FileInfo) bool { return f.MinTXID != 2 },
}

// holed opens a writer on a replica of six transactions. All pages of the
// replica are from the first and the third one, or from any of them.
func holed(t *testing.T, client *liar, o *litestream.Options) (db querier, vfs *litestream.VFS) {
	t.Helper()
	vfsName, vfs := newVFSOnly(t, client, o)
	conn := openConn(t, vfsName, "app.db")
	mustExec(t, conn, "PRAGMA page_size = 512; CREATE TABLE t (v); CREATE TABLE big (v); INSERT INTO big VALUES (zeroblob(60000))")
	mustExec(t, conn, "PRAGMA litestream_sync")
	for i := range 5 {
		mustExec(t, conn, "INSERT INTO t VALUES (?); INSERT INTO big VALUES (randomblob(2000))", i)
		mustExec(t, conn, "PRAGMA litestream_sync")
	}
	return conn, vfs
}

// TestPromise5_HoleIsMended removes files under a writer that can read all
// pages locally. The writer makes a snapshot.
func TestPromise5_HoleIsMended(t *testing.T) {
	for name, which := range holes {
		for _, how := range []string{"idle", "busy", "committed", "hydrated", "reopened", "enabled"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testMended(t, how, which) })
			})
		}
	}
}

func testMended(t *testing.T, how string, which func(*ltx.FileInfo) bool) {
	client := &liar{ReplicaClient: memoryClient()}
	var log testlog.Buffer
	o := &litestream.Options{WriteEnabled: true, Logger: testlog.New(t, &log), CompactionDisabled: true}
	if how == "hydrated" {
		o.HydrationEnabled, o.CacheSize = true, -1
	}
	db, vfs := holed(t, client, o)
	defer vfs.Close(context.Background())
	if how == "hydrated" {
		waitForHydration(t, db)
	}
	if how == "reopened" || how == "enabled" {
		db = reopenHoled(t, client, vfs, *o, how == "reopened")
	}
	client.take(t, which)
	want := 6
	switch how {
	case "idle", "hydrated", "reopened", "enabled":
		time.Sleep(time.Hour)
		mustExec(t, db, "INSERT INTO t VALUES (5)")
		mustExec(t, db, "PRAGMA litestream_sync")
	case "committed":
		mustExec(t, db, "INSERT INTO t VALUES (5)")
		time.Sleep(time.Minute)
		want++
		mustExec(t, db, "INSERT INTO t VALUES (6)")
		mustExec(t, db, "PRAGMA litestream_sync")
	case "busy":
		for range 40 {
			mustExec(t, db, "INSERT INTO t VALUES (5)")
			want++
			time.Sleep(time.Second / 2)
		}
		want--
		mustExec(t, db, "PRAGMA litestream_sync")
	}
	synctest.Wait()
	if s := status(t, db).Write; s.Mended != 1 || s.Error != "" || s.Unsynced != 0 {
		t.Errorf("status: %+v", s)
	}
	if n := strings.Count(log.String(), "files of the replica were missing"); n != 1 {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
	for _, reader := range []func() (string, error){
		func() (string, error) { return queryText(db, "SELECT count(*) FROM t") },
		func() (string, error) { return queryText(db, "PRAGMA integrity_check") },
		func() (string, error) { return readFresh(t, client, "SELECT count(*) FROM t") },
	} {
		if got, err := reader(); err != nil || got != fmt.Sprint(want) && got != "ok" {
			t.Errorf("got %q, %v, want %d", got, err, want)
		}
	}
}

// reopenHoled opens a replica that another process has written, and reads all
// of it. Write mode is on from the start, or is turned on later.
func reopenHoled(t *testing.T, client *liar, before *litestream.VFS, o litestream.Options, enabled bool) querier {
	t.Helper()
	if err := before.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	o.WriteEnabled = enabled
	name, vfs := newVFSOnly(t, client, &o)
	db := openConn(t, name, "app.db", "mode=rw")
	t.Cleanup(func() { _ = vfs.Close(context.Background()) })
	wantSQL(t, db, "PRAGMA integrity_check", "ok")
	mustExec(t, db, "PRAGMA litestream_write_enabled = 1")
	return db
}

// waitForHydration waits until all pages of a database are local.
func waitForHydration(t testing.TB, db querier) {
	t.Helper()
	for range 1000 {
		if mustQuery(t, db, "PRAGMA litestream_hydration_status") == "complete" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("hydration does not end")
}

// TestPromise5_HoleStopsSync removes files under a writer that cannot read
// their pages elsewhere. Syncs fail with an error that names the files, and
// nothing leaves the buffer. When the files are back, syncs succeed.
func TestPromise5_HoleStopsSync(t *testing.T) {
	for name, which := range holes {
		for _, idle := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s/%v", name, idle), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "buffer")
				synctest.Test(t, func(t *testing.T) { testHole(t, path, idle, which) })
			})
		}
	}
}

func testHole(t *testing.T, path string, idle time.Duration, which func(*ltx.FileInfo) bool) {
	client := &liar{ReplicaClient: memoryClient()}
	db, vfs := holed(t, client, &litestream.Options{
		WriteEnabled: true, WriteBufferPath: path, CacheSize: -1, Logger: testlog.New(t, nil), CompactionDisabled: true,
	})
	defer vfs.Close(context.Background())
	mustExec(t, db, "INSERT INTO t VALUES (5)")
	rows := 6
	names, putBack := client.take(t, which)
	time.Sleep(idle)
	var failed error
	for range 15 { // until the next poll of all levels
		if _, err := db.ExecContext(context.Background(), "INSERT INTO t VALUES (?)", rows); err == nil {
			rows++ // otherwise its pages are in the missing files
		}
		if failed = trySync(vfs, 25*time.Second); failed != nil {
			break
		}
		time.Sleep(time.Second)
	}
	if failed == nil || errors.Is(failed, litestream.ErrConflict) || errors.Is(failed, context.DeadlineExceeded) {
		t.Fatalf("syncs over a hole: %v", failed)
	}
	if !strings.Contains(failed.Error(), names[0]) {
		t.Errorf("sync: %v; want it to name %s", failed, names[0])
	}
	for range 3 {
		if err := trySync(vfs, time.Minute); err == nil {
			t.Error("a sync over the hole works all the same")
		}
		time.Sleep(time.Minute)
	}
	s := status(t, db).Write
	if !s.Enabled || s.Unsynced == 0 && idle > 0 || s.Mended != 0 || !strings.Contains(s.Error, names[0]) {
		t.Errorf("status: %+v", s)
	}
	if kept, _ := filepath.Glob(path + "-*"); len(kept) == 0 && idle > 0 {
		t.Error("the write buffer is empty")
	}
	putBack()
	time.Sleep(time.Minute)
	if err := trySync(vfs, time.Minute); err != nil {
		t.Errorf("sync when the files are back: %v", err)
	}
	if got, err := readFresh(t, client, "SELECT count(*) FROM t"); err != nil || got != fmt.Sprint(rows) {
		t.Errorf("a fresh reader gets %q, %v, want %d", got, err, rows)
	}
}

// TestCompaction_Stalls removes files that are not yet compacted. Compaction
// logs once that it stops, and continues after the hole.
func TestCompaction_Stalls(t *testing.T) {
	for _, mended := range []bool{true, false} {
		t.Run(fmt.Sprintf("mended=%v", mended), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &liar{ReplicaClient: memoryClient()}
				var log testlog.Buffer
				o := &litestream.Options{WriteEnabled: true, PollInterval: -1, Logger: testlog.New(t, &log)}
				if !mended {
					o.CacheSize = -1
				}
				db, vfs := holed(t, client, o)
				defer vfs.Close(context.Background())
				time.Sleep(31 * time.Second)
				for i := range 4 {
					mustExec(t, db, "INSERT INTO t VALUES (?); INSERT INTO big VALUES (randomblob(2000))", i)
					mustExec(t, db, "PRAGMA litestream_sync")
				}
				client.take(t, func(f *ltx.FileInfo) bool { return f.Level == 0 && (f.MinTXID == 7 || f.MinTXID == 8) })
				time.Sleep(time.Hour)
				s := status(t, db).Write
				if got := s.Compaction == ""; got != mended {
					t.Errorf("status: %+v", s)
				}
				if n := strings.Count(log.String(), "compaction does not go on"); n != 1 {
					t.Errorf("%d warnings: %s", n, log.String())
				}
				if err := trySync(vfs, time.Minute); (err == nil) != mended {
					t.Errorf("sync: %v", err)
				}
				last := ltx.TXID(0)
				for _, f := range filesOf(t, client) {
					if f.Level == 1 {
						last = max(last, f.MaxTXID)
					}
				}
				if want := map[bool]ltx.TXID{true: 10, false: 6}[mended]; last != want {
					t.Errorf("level 1 ends at %s, want %s", last, want)
				}
			})
		})
	}
}

// lostSnapshots is a store that makes snapshots but returns an error.
type lostSnapshots struct {
	*liar
	lost atomic.Int64
}

func (c *lostSnapshots) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	info, err := c.liar.CreateLTXFile(ctx, level, minTXID, maxTXID, r)
	if err == nil && level == litestream.SnapshotLevel {
		c.lost.Add(1)
		return nil, errors.New("connection reset")
	}
	return info, err
}

// TestPromise5_MendedReplyLost loses the reply to the upload of the snapshot
// that fills a hole. The writer recognises the snapshot as its own.
func TestPromise5_MendedReplyLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &lostSnapshots{liar: &liar{ReplicaClient: memoryClient()}}
		slot, vfs := newVFSOnly(t, client, &litestream.Options{WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1, CompactionDisabled: true, Logger: testlog.New(t, nil)})
		defer vfs.Close(context.Background())
		db := openConn(t, slot, "app.db")
		for _, query := range []string{"CREATE TABLE t (v)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"} {
			mustExec(t, db, query)
			mustSync(t, vfs)
		}
		client.take(t, holes["middle"])
		client.take(t, holes["first"])
		time.Sleep(time.Hour)
		mustExec(t, db, "INSERT INTO t VALUES (3)")
		if err := trySync(vfs, time.Minute); err != nil {
			t.Fatal(err)
		}
		if client.lost.Load() == 0 {
			t.Error("no snapshot was made")
		}
		for range 3 {
			time.Sleep(time.Hour)
			mustExec(t, db, "INSERT INTO t VALUES (4)")
			mustSync(t, vfs)
		}
		if got, err := readFresh(t, client, "SELECT group_concat(v) FROM t"); err != nil || got != "1,2,3,4,4,4" {
			t.Errorf("a fresh reader gets %q, %v", got, err)
		}
	})
}

// plainLiar is a liar without a create-only upload and without a listing of all
// levels at once.
type plainLiar struct{ litestream.ReplicaClient }

// TestPromise6_OverwritesNothingHidden has a store without a create-only upload
// and with empty listings. Before an upload, the writer asks for the file
// itself.
func TestPromise6_OverwritesNothingHidden(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	client := &liar{ReplicaClient: memoryClient()}
	slot, vfs := newVFSOnly(t, plainLiar{client}, writing(func(o *litestream.Options) {
		o.PollInterval, o.CloseTimeout, o.ReadTimeout, o.CompactionDisabled = -1, 100*time.Millisecond, 100*time.Millisecond, true
	}))
	a := openConn(t, slot, "app.db")
	mustExec(t, a, "CREATE TABLE t (v)")
	mustSync(t, vfs)
	otherName, other := newVFS(t, client, writing(func(o *litestream.Options) { o.CompactionDisabled = true }))
	b := openConn(t, otherName, "app.db")
	mustExec(t, b, "INSERT INTO t VALUES ('b')")
	mustSync(t, other)
	client.lie(func(_ int, f *ltx.FileInfo) bool { return f.MaxTXID > 1 })
	mustExec(t, a, "INSERT INTO t VALUES ('a')")
	if err := trySync(vfs, 200*time.Millisecond); err == nil {
		t.Error("both writers succeed")
	}
	_ = vfs.Close(t.Context())
	client.lie(nil)
	if got, err := readFresh(t, client, "SELECT v FROM t"); err != nil || got != "b" {
		t.Errorf("a fresh reader gets %q, %v", got, err)
	}
}

// TestPromise9_CloseInDoubt closes a writer that has nothing to upload while a
// listing is wrong. The close does not wait for a right listing, and returns an
// error if a hole is known.
func TestPromise9_CloseInDoubt(t *testing.T) {
	for _, vanished := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			client := &liar{ReplicaClient: memoryClient()}
			db, vfs := holed(t, client, &litestream.Options{WriteEnabled: true, CacheSize: -1, CompactionDisabled: true, Logger: testlog.New(t, nil)})
			if vanished {
				client.take(t, holes["first"])
			} else {
				client.lie(func(_ int, f *ltx.FileInfo) bool { return holes["first"](f) })
			}
			for range 60 { // waits for polls, some of which list all levels
				mustQuery(t, db, "SELECT max(rowid) FROM t")
				time.Sleep(time.Second)
			}
			if s := status(t, db).Write; s.Error == "" || s.Unsynced > 0 {
				t.Errorf("vanished=%v: status %+v", vanished, s)
			}
			start := time.Now()
			err := vfs.Close(context.Background())
			if took := time.Since(start); took > time.Second {
				t.Errorf("vanished=%v: closing takes %v", vanished, took)
			}
			var missing *litestream.MissingError
			if got := errors.As(err, &missing); got != vanished {
				t.Errorf("vanished=%v: close: %v", vanished, err)
			}
		})
	}
}

// TestPromise5_HoleAfterConflict removes files under a writer that has lost and
// was turned on again. It has committed nothing since, and its sync still
// fails.
func TestPromise5_HoleAfterConflict(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // the buffer that the loser keeps goes there
	synctest.Test(t, func(t *testing.T) {
		client := &liar{ReplicaClient: memoryClient()}
		db, vfs := holed(t, client, &litestream.Options{WriteEnabled: true, CacheSize: -1, Logger: testlog.New(t, nil), CompactionDisabled: true})
		defer vfs.Close(context.Background())
		write(t, client, "INSERT INTO t VALUES ('theirs')")
		mustExec(t, db, "INSERT INTO t VALUES ('mine')")
		if err := trySync(vfs, 25*time.Second); !errors.Is(err, litestream.ErrConflict) {
			t.Fatalf("sync: %v, want a conflict", err)
		}
		mustExec(t, db, "PRAGMA litestream_write_enabled = 1")
		if err := trySync(vfs, 25*time.Second); err != nil {
			t.Errorf("a sync of nothing: %v", err)
		}
		names, putBack := client.take(t, holes["first"])
		for range 60 { // until a poll lists everything
			_, _ = queryText(db, "SELECT count(*) FROM t")
			time.Sleep(time.Second)
		}
		if err := trySync(vfs, 25*time.Second); err == nil || !strings.Contains(err.Error(), names[0]) {
			t.Errorf("sync with a hole: %v, want an error that names %s", err, names[0])
		}
		putBack()
		time.Sleep(time.Minute)
		if err := trySync(vfs, 25*time.Second); err != nil {
			t.Errorf("sync after the files are back: %v", err)
		}
	})
}
