package litestream_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/memory"
	"github.com/superfly/ltx"
)

// downFile is a file replica to which every upload fails.
type downFile struct{ *file.ReplicaClient }

func (downFile) CreateLTXFile(context.Context, int, ltx.TXID, ltx.TXID, interface{ Read([]byte) (int, error) }) (*ltx.FileInfo, error) {
	return nil, errors.New("storage is down")
}

// leaveUnsynced makes a buffer with a commit that is not on the replica of a
// client, as a killed process leaves it.
func leaveUnsynced(t *testing.T, client litestream.ReplicaClient, name, query string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "buffer")
	vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath, o.CloseTimeout = path, 1 }))
	t.Cleanup(func() { _ = vfs.Close(context.Background()) }) // the close cannot sync
	mustExec(t, openConn(t, vfsName, name), query)
	return copyBuffer(t, path)
}

// openRefused opens a database with a buffer that must be refused, and checks
// that the refusal changes nothing.
func openRefused(t *testing.T, client litestream.ReplicaClient, name, path string, params ...string) (log string) {
	t.Helper()
	before := readSegments(t, path)
	var text testlog.Buffer
	vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath, o.Logger = path, testlog.New(t, &text) }))
	if err := openDB(t, vfsName, name, params...).Ping(); err == nil {
		t.Error("a database opens with the buffer of another")
	}
	if err := vfs.Close(t.Context()); err != nil {
		t.Error(err)
	}
	after := readSegments(t, path)
	for name, b := range before {
		if !bytes.Equal(after[name], b) {
			t.Errorf("%s was changed", name)
		}
	}
	if kept, _ := filepath.Glob(path + ".kept-*"); len(after) != len(before) || len(kept) > 0 {
		t.Errorf("segments are %d, kept is %v, want %d and none", len(after), kept, len(before))
	}
	return text.String()
}

func ltxFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "ltx", "*", "*.ltx"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestWrite_BufferOfAnotherReplica opens a new database with the buffer of
// another one. Their clients tell them apart. The buffer is refused, and the
// other database recovers it.
func TestWrite_BufferOfAnotherReplica(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	path := leaveUnsynced(t, downFile{file.NewReplicaClient(a)}, "app.db", "CREATE TABLE t (v); INSERT INTO t VALUES ('of a')")
	log := openRefused(t, file.NewReplicaClient(b), "app.db", path)
	for _, want := range []string{"another database", path, a, b} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if files := ltxFiles(t, b); len(files) > 0 {
		t.Errorf("the other replica has %v", files)
	}
	vfsName, vfs := newVFS(t, file.NewReplicaClient(a), writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	wantSQL(t, openDB(t, vfsName, "other name.db"), "SELECT v FROM t", "of a")
	if err := vfs.Sync(t.Context(), "other name.db"); err != nil {
		t.Error(err)
	}
}

// TestWrite_BufferOfAnotherURL is TestWrite_BufferOfAnotherReplica with URLs,
// and with a replica that holds a database already.
func TestWrite_BufferOfAnotherURL(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	path := leaveUnsynced(t, downFile{file.NewReplicaClient(a)}, "app.db", "CREATE TABLE t (v); INSERT INTO t VALUES ('of a')")
	openRefused(t, nil, "app.db", path, "replica_url=file://"+b)
	writeReplica(t, file.NewReplicaClient(b), "CREATE TABLE t (v); INSERT INTO t VALUES ('of b')")
	openRefused(t, nil, "app.db", path, "replica_url=file://"+b)
	vfsName, _ := newVFS(t, nil, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openConn(t, vfsName, "app.db", "replica_url=file://"+a)
	wantSQL(t, db, "SELECT v FROM t", "of a")
	mustSyncConn(t, db)
}

// TestWrite_BufferOfAnotherName has clients that do not say to which replica
// they belong. The names of the databases tell them apart.
func TestWrite_BufferOfAnotherName(t *testing.T) {
	client := faulty()
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		return nil, errors.New("storage is down")
	}
	path := leaveUnsynced(t, client, "a.db", "CREATE TABLE t (v); INSERT INTO t VALUES ('of a')")
	openRefused(t, memory.NewReplicaClient(), "b.db", path)
	vfsName, _ := newVFS(t, memory.NewReplicaClient(), writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openConn(t, vfsName, "a.db")
	wantSQL(t, db, "SELECT v FROM t", "of a")
	mustSyncConn(t, db)
}

// TestWrite_BufferOfMovedReplica gives a replica another name. Its state shows
// that it is the same replica.
func TestWrite_BufferOfMovedReplica(t *testing.T) {
	was, is := filepath.Join(t.TempDir(), "was"), filepath.Join(t.TempDir(), "is")
	writeReplica(t, file.NewReplicaClient(was), "CREATE TABLE t (v); INSERT INTO t VALUES ('first')")
	path := leaveUnsynced(t, downFile{file.NewReplicaClient(was)}, "app.db", "INSERT INTO t VALUES ('second')")
	if err := os.Rename(was, is); err != nil {
		t.Fatal(err)
	}
	openRefused(t, file.NewReplicaClient(was), "another.db", path+"", "replica_url=file://"+filepath.Join(t.TempDir(), "new"))
	vfsName, _ := newVFS(t, file.NewReplicaClient(is), writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openConn(t, vfsName, "app.db")
	wantSQL(t, db, "SELECT group_concat(v) FROM t", "first,second")
	mustSyncConn(t, db)
	if left, _ := filepath.Glob(path + "-*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// TestWrite_BufferOfEmptiedReplica has commits that follow a state which the
// replica no longer has, for good or for the moment. The commits stay where
// they are.
func TestWrite_BufferOfEmptiedReplica(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "replica")
	writeReplica(t, file.NewReplicaClient(dir), "CREATE TABLE t (v)")
	path := leaveUnsynced(t, downFile{file.NewReplicaClient(dir)}, "app.db", "INSERT INTO t VALUES ('unsynced')")
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	if log := openRefused(t, file.NewReplicaClient(dir), "app.db", path); !strings.Contains(log, "set another path for the write buffer") {
		t.Errorf("the log does not say what to do: %s", log)
	}
	if err := os.Rename(dir+"-gone", dir); err != nil {
		t.Fatal(err)
	}
	vfsName, _ := newVFS(t, file.NewReplicaClient(dir), writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	wantSQL(t, openDB(t, vfsName, "app.db"), "SELECT v FROM t", "unsynced")
}
