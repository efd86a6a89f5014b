package litestream_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// fastCompaction sets options that compact much in little time.
func fastCompaction(o *litestream.Options) {
	o.WriteSyncInterval = time.Second
	o.CompactionLevels = []time.Duration{3 * time.Second, 30 * time.Second, 3 * time.Minute}
	o.L0Retention = 20 * time.Second
	o.SnapshotInterval, o.SnapshotRetention = 5*time.Minute, 10*time.Minute
}

// levels returns the number of files in each level. It checks that no level
// lacks transactions between its files, except where files of level 0 are kept
// because they are pinned.
func levels(t testing.TB, client *memory.ReplicaClient) (n [10]int) {
	t.Helper()
	itr, err := client.AllLTXFiles(context.Background(), false)
	if err != nil {
		t.Fatal(err)
	}
	var last [10]ltx.TXID
	for itr.Next() {
		f := itr.Item()
		if f.Level > 0 && f.Level < litestream.SnapshotLevel && n[f.Level] > 0 && f.MinTXID > last[f.Level]+1 {
			t.Errorf("level %d: %s follows %s", f.Level, f.MinTXID, last[f.Level])
		}
		n[f.Level]++
		last[f.Level] = max(last[f.Level], f.MaxTXID)
	}
	return n
}

// TestCompaction writes for half an hour, or for a part of that (see testscale).
func TestCompaction(t *testing.T) {
	t.Parallel()
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, CacheSize: -1, PollInterval: -1})
		fastCompaction(&vfs.Options)
		defer vfs.Close(context.Background())
		db, old := openDB(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, pad); INSERT INTO t VALUES (0, zeroblob(50000))")
		mustExec(t, db, "PRAGMA litestream_sync")
		mustExec(t, old, "BEGIN")
		wantSQL(t, old, "SELECT count(*) FROM t", "1")
		rng := rand.New(rand.NewPCG(1, 1))
		for i := range max(testscale.Repeats(900), 225) {
			mustExec(t, db, "INSERT INTO t VALUES (?, zeroblob(?)); UPDATE t SET pad = randomblob(length(pad)) WHERE id = ?", i+1, rng.IntN(6000), rng.IntN(i+1))
			if i%100 == 99 {
				mustExec(t, db, "DELETE FROM t WHERE id > 0 AND id % 3 = 0; VACUUM")
			}
			time.Sleep(2 * time.Second)
		}
		got := levels(t, client)
		for level, most := range []int{20, 330, 40, 8, 0, 0, 0, 0, 0, 8} {
			if got[level] > most || got[level] == 0 && most > 0 {
				t.Errorf("level %d has %d files, want up to %d", level, got[level], most)
			}
		}
		// The state that was pinned all the time can still be read.
		wantSQL(t, old, "SELECT count(*), sum(length(pad)), sum(pad = zeroblob(50000)) FROM t", "1|50000|1")
		wantSQL(t, old, "PRAGMA integrity_check", "ok")
		mustExec(t, old, "COMMIT")
		mustExec(t, db, "PRAGMA litestream_sync")

		readName, reading := newVFS(t, client, &litestream.Options{PollInterval: -1})
		defer reading.Close(context.Background())
		reader := openConn(t, readName, "app.db")
		for _, query := range []string{"SELECT count(*), sum(length(pad)), max(id) FROM t", "PRAGMA integrity_check", "PRAGMA litestream_txid"} {
			wantSQL(t, reader, query, mustQuery(t, db, query))
		}
		var history []litestream.HistoryPoint
		if err := json.Unmarshal([]byte(mustQuery(t, reader, "PRAGMA litestream_history")), &history); err != nil {
			t.Fatal(err)
		}
		if len(history) < 20 {
			t.Errorf("%d points in time", len(history))
		}
		for _, p := range history {
			mustExec(t, reader, "PRAGMA litestream_txid = '"+p.TXID.String()+"'")
			wantSQL(t, reader, "PRAGMA integrity_check", "ok")
		}
	})
}

// afterList is a client that calls a hook after the next listing of level 1.
type afterList struct {
	*memory.ReplicaClient
	hook atomic.Pointer[func()] // called once; nil: none
}

func (c *afterList) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	itr, err := c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
	if level == 1 {
		if hook := c.hook.Swap(nil); hook != nil {
			(*hook)()
		}
	}
	return itr, err
}

// TestCompaction_LateFile has a writer hang between its listings of two levels.
// Meanwhile another process compacts a transaction and deletes its file, and a
// writer that hung as well makes the transaction once more, with other content.
// Compaction does not merge that file.
func TestCompaction_LateFile(t *testing.T) {
	client := &afterList{ReplicaClient: memoryClient()}
	raw := client.ReplicaClient
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, client, &litestream.Options{
			WriteEnabled: true, WriteSyncInterval: -1, PollInterval: -1, CacheSize: -1,
			CompactionLevels: []time.Duration{3 * time.Second}, L0Retention: -1, SnapshotInterval: time.Hour,
		})
		defer vfs.Close(context.Background())
		db := openConn(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE a (v); CREATE TABLE b (v); INSERT INTO a VALUES ('first'); INSERT INTO b VALUES ('first')")
		mustSync(t, vfs)
		time.Sleep(10 * time.Second)
		other := cloneReplica(t, raw)
		write(t, other, "UPDATE a SET v = 'late'")
		late := readFile(t, other, 0, 2, 2)
		time.Sleep(time.Second)
		mustExec(t, db, "UPDATE a SET v = 'second'")
		mustSync(t, vfs)
		mustExec(t, db, "UPDATE b SET v = 'third'")
		mustSync(t, vfs)
		hang := func() {
			second := readFile(t, raw, 0, 2, 2)
			if _, err := raw.WriteLTXFile(context.Background(), 1, 2, 2, strings.NewReader(second)); err != nil {
				t.Error(err)
			}
			if _, err := raw.WriteLTXFile(context.Background(), 0, 2, 2, strings.NewReader(late)); err != nil {
				t.Error(err)
			}
		}
		client.hook.Store(&hang)
		time.Sleep(30 * time.Second)
		if client.hook.Load() != nil {
			t.Error("compaction has not listed level 1")
		}
		wantSQL(t, db, "SELECT a.v, b.v FROM a, b", "second|third")
		if got, err := readFresh(t, raw, "SELECT a.v, b.v FROM a, b"); err != nil || got != "second|third" {
			t.Errorf("a fresh reader gets %q, %v", got, err)
		}
		if last := lastTXID(t, raw, 1); last != 3 {
			t.Errorf("level 1 ends at %s", last)
		}
	})
}

// raceClient is the view that one of several writers has of a replica. At times
// it stops for a while, like a suspended process. It records which files were
// made.
type raceClient struct {
	*memory.ReplicaClient
	race *race
	name string // name of the writer's database, which its log has as well
}

// race is the state that all writers of a race share.
type race struct {
	mu    sync.Mutex
	rng   *rand.Rand
	made  map[ltx.TXID][32]byte // the first file of each transaction, of level 0
	twice int
	acked map[string]bool // rows
	told  int
	lying bool     // listings are wrong at times
	order []string // files in the order in which they were made

	// trace holds what the writers did last, a ring of maxTrace lines.
	trace []string
	lines int
}

// maxTrace is the number of lines that the trace of a race holds. A race has some
// thousands.
const maxTrace = 20_000

// note adds a line to the trace. It is called under mu.
func (r *race) note(format string, args ...any) {
	line := time.Now().Format("04:05.000 ") + fmt.Sprintf(format, args...)
	if len(r.trace) < maxTrace {
		r.trace = append(r.trace, line)
	} else {
		r.trace[r.lines%maxTrace] = line
	}
	r.lines++
}

// Write adds a line of a writer's log to the trace.
func (r *race) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note("%s", strings.TrimSpace(string(line)))
	return len(line), nil
}

// logTrace logs the trace if the test has failed.
func (r *race) logTrace(t *testing.T) {
	if !t.Failed() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := max(r.lines-maxTrace, 0) % maxTrace
	t.Logf("what the writers did:\n%s", strings.Join(slices.Concat(r.trace[oldest:], r.trace[:oldest]), "\n"))
}

// fileText names a file.
func fileText(f *ltx.FileInfo) string { return fmt.Sprintf("%d/%d-%d", f.Level, f.MinTXID, f.MaxTXID) }

// lie leaves out files of a listing at times.
func (c *raceClient) lie(what string, itr ltx.FileIterator, err error) (ltx.FileIterator, error) {
	if err != nil {
		return itr, err
	}
	r := c.race
	r.mu.Lock()
	defer r.mu.Unlock()
	// A listing that leaves out a file also leaves out every file that was made
	// later. Otherwise no writer could tell which file was first.
	since := r.order[len(r.order)-min(r.rng.IntN(10), len(r.order)):]
	lie := pick(r.rng, "empty", "no level 0", "no oldest", "no snapshot", "since")
	hides := lies[lie]
	if lie == "since" {
		hides = func(f *ltx.FileInfo, _ ltx.TXID) bool { return slices.Contains(since, fileText(f)) }
	}
	if !r.lying || r.rng.IntN(4) > 0 {
		lie, hides = "truth", func(*ltx.FileInfo, ltx.TXID) bool { return false }
	}
	var files []*ltx.FileInfo
	var shown, hidden []string
	for itr.Next() {
		if f := itr.Item(); hides(f, 0) {
			hidden = append(hidden, fileText(f))
		} else {
			files, shown = append(files, f), append(shown, fileText(f))
		}
	}
	r.note("%s lists %s (%s): %s; hidden: %s", c.name, what, lie, shown, hidden)
	return ltx.NewFileInfoSliceIterator(files), itr.Close()
}

func (r *race) pause(ctx context.Context) error {
	r.mu.Lock()
	d := time.Duration(r.rng.IntN(100)) * time.Millisecond
	if r.rng.IntN(60) == 0 {
		d = time.Duration(20+r.rng.IntN(40)) * time.Second // longer than L0Retention
	}
	r.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *raceClient) CreateLTXFile(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, r io.Reader) (*ltx.FileInfo, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if err := c.race.pause(ctx); err != nil {
		return nil, err
	}
	info, err := c.create(ctx, level, minTXID, maxTXID, body)
	if perr := c.race.pause(ctx); perr != nil {
		return nil, perr
	}
	return info, err
}

// create makes a file. No listing comes between that and the record of it.
func (c *raceClient) create(ctx context.Context, level int, minTXID, maxTXID ltx.TXID, body []byte) (*ltx.FileInfo, error) {
	r := c.race
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := c.ReplicaClient.CreateLTXFile(ctx, level, minTXID, maxTXID, bytes.NewReader(body))
	sum := sha256.Sum256(body)
	r.note("%s creates %d/%d-%d with %x: %v", c.name, level, minTXID, maxTXID, sum[:4], err)
	if err != nil {
		return nil, err
	}
	r.order = append(r.order, fileText(info))
	if level > 0 {
		return info, nil
	}
	if first, known := r.made[minTXID]; !known {
		r.made[minTXID] = sum
	} else if first != sum {
		r.twice++ // compacted and deleted meanwhile
	}
	return info, nil
}

func (c *raceClient) DeleteLTXFiles(ctx context.Context, a []*ltx.FileInfo) error {
	r := c.race
	r.mu.Lock()
	defer r.mu.Unlock()
	err := c.ReplicaClient.DeleteLTXFiles(ctx, a)
	for _, f := range a {
		r.note("%s deletes %s: %v", c.name, fileText(f), err)
	}
	return err
}

func (c *raceClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	if err := c.race.pause(ctx); err != nil {
		return nil, err
	}
	itr, err := c.ReplicaClient.LTXFiles(ctx, level, seek, useMetadata)
	return c.lie(fmt.Sprintf("level %d from %d", level, seek), itr, err)
}

func (c *raceClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	itr, err := c.ReplicaClient.AllLTXFiles(ctx, useMetadata)
	return c.lie("all", itr, err)
}

// TestPromise6_RaceOfLies is TestPromise6_Race with listings that are wrong at
// times.
func TestPromise6_RaceOfLies(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // buffers that losers keep go there
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) { testRace(t, 2, seed, true) })
	}
}

// TestPromise6_Race has writers write to one replica for minutes, with
// pauses longer than files of level 0 are kept.
func TestPromise6_Race(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir()) // buffers that losers keep go there
	for _, writers := range []int{2, 5} {
		t.Run(fmt.Sprint(writers), func(t *testing.T) {
			for seed := range uint64(testscale.Repeats(4)) {
				synctest.Test(t, func(t *testing.T) { testRace(t, writers, seed, false) })
			}
		})
	}
}

func testRace(t *testing.T, writers int, seed uint64, lying bool) {
	client := memoryClient()
	r := &race{rng: rand.New(rand.NewPCG(seed, 1)), made: make(map[ltx.TXID][32]byte), acked: make(map[string]bool), lying: lying}
	firstName, first := newVFS(t, client, writing())
	mustExec(t, openDB(t, firstName, "app.db"), "CREATE TABLE t (row TEXT PRIMARY KEY)")
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.logTrace(t)
	var wg sync.WaitGroup
	for w := range writers {
		name := fmt.Sprintf("writer%d.db", w)
		vfsName, vfs := newVFS(t, &raceClient{client, r, name}, &litestream.Options{
			WriteEnabled: true, ReadTimeout: 5 * time.Minute,
			Logger: slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		fastCompaction(&vfs.Options)
		vfs.Options.WriteSyncInterval = -1
		wg.Go(func() {
			defer vfs.Close(context.Background())
			pool := openDB(t, vfsName, name)
			db, err := pool.Conn(context.Background())
			for range 100 { // an open fails when a listing is wrong
				if err == nil {
					break
				}
				db, err = pool.Conn(context.Background())
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			for n := range 60 {
				_ = r.pause(context.Background())
				row := fmt.Sprintf("%d-%d", w, n)
				if _, err := db.ExecContext(context.Background(), "INSERT INTO t VALUES (?)", row); err != nil {
					again(t, db)
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				err := vfs.Sync(ctx, name)
				cancel()
				switch {
				case err == nil:
					r.mu.Lock()
					r.acked[row] = true
					r.note("%s has synced row %s", name, row)
					r.mu.Unlock()
				case errors.Is(err, litestream.ErrConflict):
					r.mu.Lock()
					r.told++
					r.mu.Unlock()
					again(t, db)
				default:
					t.Errorf("sync: %v", err)
				}
			}
		})
	}
	wg.Wait()
	readName, reading := newVFS(t, client, nil)
	defer reading.Close(context.Background())
	reader := openConn(t, readName, "app.db")
	wantSQL(t, reader, "PRAGMA integrity_check", "ok")
	there := make(map[string]bool)
	for _, row := range strings.Split(mustQuery(t, reader, "SELECT row FROM t"), "\n") {
		there[row] = true
	}
	for row := range r.acked {
		if !there[row] {
			t.Errorf("row %s was acknowledged, and is not there", row)
		}
	}
	if !lying {
		levels(t, client) // otherwise a level may start over
	}
	itr, err := client.LTXFiles(context.Background(), 0, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for itr.Next() {
		txid := itr.Item().MinTXID
		body, err := client.OpenLTXFile(context.Background(), 0, txid, txid, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err != nil || sha256.Sum256(b) != r.made[txid] && r.made[txid] != [32]byte{} {
			t.Errorf("transaction %s is not the first that was made, %v", txid, err)
		}
	}
	t.Logf("%d writers: %d rows acknowledged, %d conflicts, %d names used again", writers, len(r.acked), r.told, r.twice)
	if r.told == 0 || len(r.acked) == 0 {
		t.Error("nobody was in anybody's way")
	}
}

// again lets a connection that has lost write again.
func again(t *testing.T, db querier) {
	t.Helper()
	for range 20 {
		if _, err := db.ExecContext(context.Background(), "PRAGMA litestream_write_enabled = 1"); err == nil {
			return
		}
		time.Sleep(time.Second)
	}
	t.Error("a loser cannot write again")
}

// TestCompaction_GoesOn makes a snapshot before level 2 holds the files of
// level 1 that it needs.
func TestCompaction_GoesOn(t *testing.T) {
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		vfsName, vfs := newVFS(t, client, &litestream.Options{
			WriteEnabled: true, PollInterval: -1, L0Retention: 2 * time.Second, SnapshotRetention: time.Second,
			// No commit falls on the moment of a sync: each is a transaction.
			WriteSyncInterval: 700 * time.Millisecond,
			CompactionLevels:  []time.Duration{3 * time.Second, 30 * time.Second}, SnapshotInterval: 85 * time.Second,
		})
		defer vfs.Close(context.Background())
		db := openDB(t, vfsName, "app.db")
		mustExec(t, db, "CREATE TABLE t (v)")
		for range 300 {
			mustExec(t, db, "INSERT INTO t VALUES (1)")
			time.Sleep(time.Second)
		}
		newest, last := lastTXID(t, client, 0), lastTXID(t, client, 2)
		if newest < 300 || last+60 < newest {
			t.Errorf("level 2 ends at %s, level 0 at %s", last, newest)
		}
		if n := levels(t, client); n[1] > 60 || n[2] > 8 { // of the time from the snapshot before the newest one
			t.Errorf("%v files are left", n)
		}
	})
}

// lastTXID returns the last transaction of the files at level.
func lastTXID(t *testing.T, client litestream.ReplicaClient, level int) (last ltx.TXID) {
	t.Helper()
	files, err := client.LTXFiles(context.Background(), level, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	for files.Next() {
		last = files.Item().MaxTXID
	}
	if err := files.Err(); err != nil {
		t.Fatal(err)
	}
	return last
}

// TestCompaction_Resumes writes from short-lived processes. None of them lives
// long enough to finish a compaction.
func TestCompaction_Resumes(t *testing.T) {
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			vfsName, vfs := newVFS(t, client, &litestream.Options{WriteEnabled: true, PollInterval: -1})
			db := openConn(t, vfsName, "app.db")
			mustExec(t, db, "CREATE TABLE IF NOT EXISTS t (v); INSERT INTO t VALUES (1)")
			mustExec(t, db, "PRAGMA litestream_sync")
			time.Sleep(5 * time.Second)
			if err := vfs.Close(context.Background()); err != nil {
				t.Error(err)
			}
			_ = db.Close()
			time.Sleep(20 * time.Minute)
		}
	})
	if n := levels(t, client); n[1] < 5 || n[2] < 3 || n[3] == 0 {
		t.Errorf("files by level: %v", n)
	}
}
