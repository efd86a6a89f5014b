package litestream_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// leftBuffer is a write buffer that a killed process leaves. It records the
// sizes that the segments had after each acknowledged commit.
type leftBuffer struct {
	client   *memory.ReplicaClient
	lock     []byte            // content of the file at the buffer's own path
	segments map[string][]byte // content by the suffix of the name, such as "-00000001"
	ends     map[string][]int  // sizes after each commit; the first is that without a commit
	commits  int
}

// leaveTwoSegments makes a buffer of two segments with several commits each.
func leaveTwoSegments(t *testing.T) *leftBuffer {
	client := faulty()
	path := filepath.Join(t.TempDir(), "buffer")
	vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
		o.WriteBufferPath, o.CloseTimeout = path, 1
	}))
	t.Cleanup(func() { _ = vfs.Close(context.Background()) }) // the close cannot sync
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "PRAGMA page_size=1024; CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
	mustSync(t, vfs)
	left := &leftBuffer{client: cloneReplica(t, client.ReplicaClient), ends: make(map[string][]int)}
	insert := func() {
		mustExec(t, db, "INSERT INTO t (b) VALUES (randomblob(?))", 100+left.commits*601%2500)
		left.commits++
		for name, b := range readSegments(t, path) {
			if ends := left.ends[name]; len(ends) == 0 || ends[len(ends)-1] != len(b) {
				left.ends[name] = append(ends, len(b))
			}
		}
	}
	for range 5 {
		insert()
	}
	var once sync.Once
	ctx, cancel := context.WithCancel(t.Context())
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		once.Do(func() {
			for range 4 {
				insert()
			}
			cancel()
		})
		return nil, errors.New("storage is down")
	}
	if err := vfs.Sync(ctx, "app.db"); err == nil {
		t.Fatal("a sync succeeds while storage is down")
	}
	left.segments = readSegments(t, path)
	var err error
	if left.lock, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	if len(left.segments) != 2 {
		t.Fatalf("%d segments, want 2", len(left.segments))
	}
	return left
}

// readSegments returns the content of the segments of a buffer by the suffixes
// of their names.
func readSegments(t testing.TB, path string) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(path + "-*")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string][]byte)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name[len(path):]] = b
	}
	return all
}

// mutate damages the segments of a buffer, and returns a description of the
// damage.
func mutate(rng *rand.Rand, segments map[string][]byte) string {
	names := slices.Sorted(maps.Keys(segments))
	name := names[rng.IntN(len(names))]
	b := segments[name]
	at := rng.IntN(len(b))
	if rng.IntN(4) == 0 {
		at = rng.IntN(min(len(b), 200)) // hits the header often
	}
	n := 1 + rng.IntN(min(len(b)-at, 1<<rng.IntN(13)))
	switch rng.IntN(7) {
	case 0:
		segments[name] = b[:at]
		return fmt.Sprintf("%s cut off at %d", name, at)
	case 1:
		clear(b[at : at+n])
		return fmt.Sprintf("%s with %d zeros at %d", name, n, at)
	case 2:
		clear(b[at:])
		return fmt.Sprintf("%s with zeros from %d", name, at)
	case 3:
		from := rng.IntN(len(b) - n + 1)
		copy(b[at:at+n], bytes.Clone(b[from:from+n]))
		return fmt.Sprintf("%s with %d bytes from %d at %d", name, n, from, at)
	case 4:
		segments[name] = slices.Insert(b, at, bytes.Clone(b[at:at+n])...)
		return fmt.Sprintf("%s with %d bytes at %d twice", name, n, at)
	case 5:
		if rng.IntN(10) == 0 {
			segments[names[0]], segments[names[1]] = segments[names[1]], segments[names[0]]
			return "segments swapped"
		}
		if rng.IntN(10) == 0 {
			segments[names[0]] = bytes.Clone(segments[names[1]])
			return "the second segment twice"
		}
		fallthrough
	default:
		b[at] ^= 1 << rng.IntN(8)
		return fmt.Sprintf("%s with a flipped bit at %d", name, at)
	}
}

var damages = flag.Int("damages", 0, "buffers that TestPromise5_DamagedBuffer damages; 0: 1,000, or 125 with the race detector or -short")

// TestPromise5_DamagedBuffer damages the buffer that a killed process left.
// Every acknowledged commit is replayed or kept byte for byte, and the log says
// where it is kept.
func TestPromise5_DamagedBuffer(t *testing.T) {
	left := leaveTwoSegments(t)
	const workers = 8 // most of the time is spent waiting for the disk
	runs := cmp.Or(*damages, testscale.Repeats(1000))
	var total recovered
	var mu sync.Mutex // guards total
	t.Run("buffers", func(t *testing.T) {
		for w := range workers {
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				r := left.damage(t, rand.New(rand.NewPCG(13, uint64(w))), runs/workers)
				mu.Lock()
				defer mu.Unlock()
				total.refused += r.refused
				total.kept += r.kept
			})
		}
	})
	t.Logf("%d buffers: %d refused, %d files kept", runs, total.refused, total.kept)
	if total.kept < runs/2 || total.refused > runs/10 {
		t.Errorf("of %d buffers %d are refused, and %d files are kept", runs, total.refused, total.kept)
	}
}

// damage damages a buffer in several runs, and opens each result.
func (left *leftBuffer) damage(t *testing.T, rng *rand.Rand, runs int) (total recovered) {
	slot := reuseSlot(t)
	dir := memoryDir(t)
	bad := 0
	for n := range runs {
		segments := make(map[string][]byte)
		for name, b := range left.segments {
			segments[name] = bytes.Clone(b)
		}
		how := mutate(rng, segments)
		path := filepath.Join(dir, fmt.Sprint(n), "buffer")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, left.lock, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, b := range segments {
			if err := os.WriteFile(path+name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r, err := left.recover(t, slot, path, segments)
		if err != nil {
			t.Errorf("%d, %s: %v", n, how, err)
			if bad++; bad > 5 {
				t.FailNow()
			}
		}
		total.refused += r.refused
		total.kept += r.kept
		_ = os.RemoveAll(filepath.Dir(path))
	}
	return total
}

// memoryDir returns a folder on which a sync takes no time, if the machine has
// one.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "litestream-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

type recovered struct{ refused, kept int }

// recover opens a buffer, and returns an error if one of its commits is lost.
func (left *leftBuffer) recover(t *testing.T, slot, path string, segments map[string][]byte) (r recovered, err error) {
	var log testlog.Buffer
	client := cloneReplica(t, left.client)
	vfs := litestream.NewVFS(client, writing(func(o *litestream.Options) {
		o.WriteBufferPath, o.Logger, o.PollInterval = path, slog.New(slog.NewTextHandler(&log, nil)), -1
	}))
	setSlot(slot, vfs)
	db := openDB(t, slot, "app.db")
	replayed := 0
	if err := db.Ping(); err != nil {
		if r.refused = 1; !strings.Contains(log.String(), path+"-") {
			return r, fmt.Errorf("the log does not say which file is why: %s", log.String())
		}
		replayed = -1
	} else {
		if replayed, err = strconv.Atoi(mustQuery(t, db, "SELECT count(*) FROM t")); err != nil {
			t.Fatal(err)
		}
		wantSQL(t, db, "SELECT coalesce(max(id), 0) FROM t", fmt.Sprint(replayed))
		wantSQL(t, db, "PRAGMA integrity_check", "ok")
	}
	_ = db.Close()
	if err := vfs.Close(t.Context()); err != nil {
		return r, fmt.Errorf("close: %w", err)
	}
	if replayed < 0 { // everything must be where it was
		for name, b := range segments {
			if got, err := os.ReadFile(path + name); err != nil || !bytes.Equal(got, b) {
				return r, fmt.Errorf("the buffer was refused, and %s changed: %v", name, err)
			}
		}
		return r, nil
	}
	setSlot(slot, litestream.NewVFS(client, &litestream.Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)}))
	again := openDB(t, slot, "app.db")
	wantSQL(t, again, "SELECT count(*) FROM t", fmt.Sprint(replayed))
	_ = again.Close()

	// A segment is kept from the first commit that is not replayed.
	first := 0
	for _, name := range slices.Sorted(maps.Keys(segments)) {
		ends := left.ends[name]
		whole := min(max(replayed-first, 0), len(ends))
		first += len(ends)
		at := 0
		if whole > 0 {
			at = ends[whole-1]
		}
		b := segments[name]
		if at == 0 && bytes.HasPrefix(b, left.segments[name][:min(len(b), headerLength(left.segments[name]))]) {
			at = headerLength(left.segments[name])
		}
		if len(b) <= at && at <= headerLength(left.segments[name]) && len(b) < headerLength(left.segments[name]) {
			at = 0 // even the header is incomplete
		}
		if len(b) <= at || len(bytes.Trim(b[at:], "\x00")) == 0 {
			continue
		}
		names, _ := filepath.Glob(path + ".kept-*" + name)
		for _, k := range names {
			if got, err := os.ReadFile(k); err == nil && bytes.Equal(got, b) {
				if !strings.Contains(log.String(), strings.TrimSuffix(k, name)) {
					return r, fmt.Errorf("the log does not say that %s is kept", k)
				}
				r.kept++
				at = len(b)
			}
		}
		if at < len(b) {
			return r, fmt.Errorf("%d of %d commits are replayed, and %s is lost from %d on: kept is %v", replayed, left.commits, name, at, names)
		}
	}
	return r, nil
}

// headerLength returns the length of the header of a segment.
func headerLength(b []byte) int {
	return 88 + 4 + int(binary.BigEndian.Uint16(b[88:])) + int(binary.BigEndian.Uint16(b[90:])) + 8
}

// TestPromise7_DamagedBeforeUpload damages a page on disk between COMMIT and
// its upload. The page is neither uploaded nor read, and the buffer stays where
// it is.
func TestPromise7_DamagedBeforeUpload(t *testing.T) {
	client := memoryClient()
	path := filepath.Join(t.TempDir(), "buffer")
	var log testlog.Buffer
	vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) {
		o.WriteBufferPath, o.CacheSize, o.Logger = path, -1, testlog.New(t, &log)
	}))
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES ('before')")
	mustSyncConn(t, db)
	mustExec(t, db, "INSERT INTO t VALUES ('committed')")
	damage := func(from, to string) { changeOnDisk(t, path, from, to) }
	damage("committed", "COMMITTED")
	if _, err := db.ExecContext(t.Context(), "PRAGMA litestream_sync"); err == nil {
		t.Error("a sync of a damaged buffer succeeds")
	}
	for what, text := range map[string]string{"litestream_status": status(t, db).Write.Error, "the log": log.String()} {
		if !strings.Contains(text, "damaged") || !strings.Contains(text, path) {
			t.Errorf("%s does not say what is damaged: %s", what, text)
		}
	}
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT group_concat(v) FROM t", "before")
	other := openConn(t, vfsName, "app.db")
	var got string
	if err := other.QueryRowContext(t.Context(), "SELECT group_concat(v) FROM t").Scan(&got); err == nil {
		t.Errorf("a page that is not what was committed is read: %q", got)
	}
	damage("COMMITTED", "committed")
	mustSyncConn(t, db)
	again, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, again, "app.db"), "SELECT group_concat(v) FROM t", "before,committed")
}

// changeOnDisk replaces a text in the only segment of a buffer.
func changeOnDisk(t *testing.T, path, from, to string) {
	t.Helper()
	names, _ := filepath.Glob(path + "-*")
	if len(names) != 1 {
		t.Fatalf("segments are %v, want one", names)
	}
	f, err := os.OpenFile(names[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := os.ReadFile(names[0])
	at := bytes.LastIndex(b, []byte(from))
	if at < 0 || err != nil {
		t.Fatalf("%q is not in the segment, %v", from, err)
	}
	if _, err := f.WriteAt([]byte(to), int64(at)); err != nil {
		t.Fatal(err)
	}
}

// TestPromise7_DamagedAfterUpload damages a page after its upload and before
// the segment is removed. The sync succeeds, and the page is read from the
// replica.
func TestPromise7_DamagedAfterUpload(t *testing.T) {
	client := faulty()
	path := filepath.Join(t.TempDir(), "buffer")
	vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES ('committed')")
	client.create = func(_ ltx.TXID, do func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		info, err := do()
		changeOnDisk(t, path, "committed", "COMMITTED")
		return info, err
	}
	mustSyncConn(t, db)
	wantSQL(t, openConn(t, vfsName, "app.db"), "SELECT v FROM t", "committed")
}

func mustSyncConn(t testing.TB, q querier) {
	t.Helper()
	mustExec(t, q, "PRAGMA litestream_sync")
}

// TestPromise5_DamagedTemporary checks that a damaged temporary buffer that
// cannot be synced is kept.
func TestPromise5_DamagedTemporary(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("XDG_STATE_HOME", state)
	client := faulty()
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		return nil, errors.New("storage is down")
	}
	var log testlog.Buffer
	vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.CloseTimeout, o.Logger = 1, testlog.New(t, &log) }))
	db := openDB(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v); INSERT INTO t VALUES ('committed')")
	flipInOpenFile(t, dir, "committed")
	_ = db.Close()
	kept, _ := filepath.Glob(filepath.Join(state, "litestream", "litestream-buffer-*.kept-*"))
	if err := vfs.Close(t.Context()); err == nil || !strings.Contains(err.Error(), "kept in "+filepath.Join(state, "litestream", "litestream-buffer-")) {
		t.Errorf("close: %v", err)
	}
	if len(kept) != 1 {
		t.Fatalf("kept is %v, want one segment", kept)
	}
	if b, err := os.ReadFile(kept[0]); err != nil || !bytes.Contains(b, []byte("COMMITTED")) {
		t.Errorf("what is kept is not what was there, %v", err)
	}
	if !strings.Contains(log.String(), "is not as it was written") {
		t.Error("the log does not say that it is damaged")
	}
}

// flipInOpenFile changes the text to upper case in those files of a folder that
// this process has open.
func flipInOpenFile(t *testing.T, dir, text string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(fds) == 0 {
		t.Skip("there is no /proc/self/fd to find an unlinked file with")
	}
	found := false
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !strings.HasPrefix(target, dir) {
			continue
		}
		b, err := os.ReadFile(fd)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.LastIndex(b, []byte(text))
		if at < 0 {
			continue
		}
		found = true
		f, err := os.OpenFile(fd, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt([]byte(strings.ToUpper(text)), int64(at))
			_ = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatalf("no open file has %q", text)
	}
}

// oldVersion returns a segment in version 1 of the format.
func oldVersion(t *testing.T, b []byte) []byte {
	t.Helper()
	pageSize := int(binary.BigEndian.Uint32(b[8:]))
	rest := b[headerLength(b):]
	out := bytes.Clone(b[:88])
	out[7] = 1
	sum := func() { out = binary.BigEndian.AppendUint64(out, xxhash.Sum64(out)) }
	sum()
	for len(rest) > 0 {
		if binary.BigEndian.Uint32(rest) == 1 {
			out = append(append(out, rest[:8]...), rest[16:16+pageSize]...)
			rest = rest[16+pageSize:]
			continue
		}
		out = append(out, rest[:24]...)
		sum()
		rest = rest[32:]
	}
	return out
}

// TestPromise5_OldBuffer opens a buffer that an older version of the library
// left. Its commits are replayed, and are checked when they are read again.
func TestPromise5_OldBuffer(t *testing.T) {
	client := memoryClient()
	writeReplica(t, client, "CREATE TABLE t (v)")
	path := leaveBuffer(t, cloneReplica(t, client), "INSERT INTO t VALUES ('committed')")
	damageSegment(t, path, func(b []byte) []byte { return oldVersion(t, b) })
	if err := os.Truncate(path, 0); err != nil { // the older version left it empty, too
		t.Fatal(err)
	}
	vfsName, _ := newVFS(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openConn(t, vfsName, "app.db")
	wantSQL(t, db, "SELECT v FROM t", "committed")
	damage := func(from, to string) {
		damageSegment(t, path, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(from), []byte(to)) })
	}
	damage("committed", "COMMITTED")
	if _, err := db.ExecContext(t.Context(), "PRAGMA litestream_sync"); err == nil {
		t.Error("a sync of a damaged buffer succeeds")
	}
	damage("COMMITTED", "committed")
	mustSyncConn(t, db)
	readName, _ := newVFS(t, client, nil)
	wantSQL(t, openDB(t, readName, "app.db"), "SELECT v FROM t", "committed")
	if left, _ := filepath.Glob(path + "-*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestPromise5_FirstSegmentDamaged opens a buffer of a database that was never
// synced, after a loss of power has taken commits of its first segment. The commits
// of the second one follow them, so they are kept, and the database begins anew.
func TestPromise5_FirstSegmentDamaged(t *testing.T) {
	for name, keep := range map[string]func(n int) int{
		"nothing is left":      func(int) int { return 0 },
		"a part of the header": func(int) int { return 20 },
		"a part of a commit":   func(n int) int { return n / 2 },
	} {
		t.Run(name, func(t *testing.T) {
			client := faulty()
			path := filepath.Join(t.TempDir(), "buffer")
			vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) {
				o.WriteBufferPath, o.CloseTimeout, o.Logger = path, 1, testlog.New(t, nil)
			}))
			t.Cleanup(func() { _ = vfs.Close(context.Background()) }) // the close cannot sync
			db := openConn(t, vfsName, "app.db")
			mustExec(t, db, "CREATE TABLE t (v)")
			ctx, cancel := context.WithCancel(t.Context())
			client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
				cancel()
				return nil, errors.New("storage is down")
			}
			if err := vfs.Sync(ctx, "app.db"); err == nil {
				t.Fatal("a sync succeeds while storage is down")
			}
			mustExec(t, db, "INSERT INTO t VALUES ('second segment')")
			left := copyBuffer(t, path)
			segments, err := filepath.Glob(left + "-*")
			if err != nil || len(segments) != 2 {
				t.Fatalf("the segments are %v, error %v", segments, err)
			}
			info, err := os.Stat(segments[0])
			if err == nil {
				err = os.Truncate(segments[0], int64(keep(int(info.Size()))))
			}
			if err != nil {
				t.Fatal(err)
			}
			again, _ := newVFS(t, memoryClient(), writing(func(o *litestream.Options) { o.WriteBufferPath = left }))
			opened := openDB(t, again, "app.db")
			wantSQL(t, opened, "SELECT count(*) FROM sqlite_master", "0")
			kept, err := filepath.Glob(left + ".kept-*-00000002")
			if err != nil || len(kept) != 1 {
				t.Errorf("kept is %v, error %v, want the second segment", kept, err)
			}
			mustExec(t, opened, "CREATE TABLE new (v)")
			mustExec(t, opened, "PRAGMA litestream_sync")
		})
	}
}
