//go:build cgo

package litestream_test

import (
	"errors"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/psanford/sqlite3vfs"
)

// TestSharedCache_Flag checks that an adapter can recognise a shared cache by
// the flag that SQLite itself hides from a VFS.
func TestSharedCache_Flag(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	vfs := litestream.NewVFS(client, &litestream.Options{Logger: testlog.New(t, nil)})
	t.Cleanup(func() { _ = vfs.Close(t.Context()) })
	for flags, want := range map[sqlite3vfs.OpenFlag]error{
		sqlite3vfs.OpenMainDB | sqlite3vfs.OpenReadOnly:                              nil,
		sqlite3vfs.OpenMainDB | sqlite3vfs.OpenReadOnly | sqlite3vfs.OpenSharedCache: litestream.ErrSharedCache,
	} {
		f, _, err := vfs.OpenURI("app.db", nil, flags)
		if err != nil {
			t.Fatal(err)
		}
		var got error
		if failed, ok := f.(interface{ OpenError() error }); ok {
			got = failed.OpenError()
		}
		if !errors.Is(got, want) || got != nil && !strings.Contains(got.Error(), "cache=private") {
			t.Errorf("flags %x: %v, want %v", flags, got, want)
		}
		_ = f.Close()
	}
}

// TestPromise4_GivenUp acts like SQLite after an error that it cannot roll back
// from: it closes the journal and releases its lock.
func TestPromise4_GivenUp(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		vfsName, vfs := newVFS(t, memoryClient(), writing())
		a := openConn(t, vfsName, "app.db")
		mustExec(t, a, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
		mustExec(t, a, "PRAGMA litestream_sync")
		f, _, err := vfs.Open("app.db", sqlite3vfs.OpenMainDB|sqlite3vfs.OpenReadWrite|sqlite3vfs.OpenCreate)
		page := make([]byte, 4096)
		var journal sqlite3vfs.File
		for _, step := range []func() error{
			func() error { return err },
			func() error { return f.Lock(sqlite3vfs.LockShared) },
			func() error { _, err := f.ReadAt(page, 0); return err },
			func() error { return f.Lock(sqlite3vfs.LockReserved) },
			func() (err error) {
				journal, _, err = vfs.Open("app.db-journal", sqlite3vfs.OpenMainJournal)
				return err
			},
			func() error { return f.Lock(sqlite3vfs.LockExclusive) },
			func() error { page[27]++; page[95]++; _, err := f.WriteAt(page, 0); return err },
			func() error {
				if !sealed {
					_, err := f.WriteAt(make([]byte, 4096), 4096)
					return err
				}
				if err := f.Sync(0); err != nil {
					return err
				}
				if _, err := f.WriteAt(page[:100], 0); err == nil { // stands for any error
					return errors.New("a write of 100 bytes succeeds")
				}
				return nil
			},
			func() error { return journal.Close() },
			func() error { return f.Unlock(sqlite3vfs.LockNone) },
			func() error { return f.Close() },
		} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		wantSQL(t, a, "SELECT v FROM t", "1")
		mustExec(t, a, "INSERT INTO t VALUES (2)")
		wantSQL(t, a, "PRAGMA litestream_sync", "0000000000000002")
		wantSQL(t, a, "PRAGMA integrity_check", "ok")
	}
}

// TestSharedCache_Resolved resolves a name as SQLite does before it opens a file: once for
// a cache of its own, and twice for a shared one.
func TestSharedCache_Resolved(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	vfs := litestream.NewVFS(client, &litestream.Options{Logger: testlog.New(t, nil)})
	t.Cleanup(func() { _ = vfs.Close(t.Context()) })
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, tc := range []struct {
		names []string // that are resolved
		want  error
	}{
		{nil, nil},
		{[]string{"app.db"}, nil},
		{[]string{"app.db", "./app.db"}, litestream.ErrSharedCache},
		{[]string{"app.db"}, nil}, // the open before has used up what came before it
		{[]string{"app.db", "other.db", "app.db"}, nil},
		{[]string{"app.db", "app.db", "app.db"}, litestream.ErrSharedCache},
		{[]string{"app.db", "app.db", "other.db"}, nil},
	} {
		for _, name := range tc.names {
			vfs.FullPathname(name)
		}
		f, _, err := vfs.Open("app.db", sqlite3vfs.OpenMainDB|sqlite3vfs.OpenReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		var got error
		if failed, ok := f.(interface{ OpenError() error }); ok {
			got = failed.OpenError()
		}
		if !errors.Is(got, tc.want) || (got == nil) != (tc.want == nil) {
			t.Errorf("after %q: %v, want %v", tc.names, got, tc.want)
		}
		_ = f.Close()
	}
}

// TestDelete deletes the journal of a local file, and a super-journal of a replica. Both
// are gone then, the first one from its folder.
func TestDelete(t *testing.T) {
	client := memoryClient()
	numberedReplica(t, client, 1)
	vfs := litestream.NewVFS(client, &litestream.Options{Logger: testlog.New(t, nil)})
	t.Cleanup(func() { _ = vfs.Close(t.Context()) })
	const flags = sqlite3vfs.OpenReadWrite | sqlite3vfs.OpenCreate
	open := func(name string, of sqlite3vfs.OpenFlag) sqlite3vfs.File {
		t.Helper()
		f, _, err := vfs.Open(name, of|flags)
		if err != nil {
			t.Fatal(err)
		}
		if failed, ok := f.(interface{ OpenError() error }); ok {
			t.Fatal(failed.OpenError())
		}
		return f
	}
	dir := t.TempDir()
	replica, local := open("app.db", sqlite3vfs.OpenMainDB), open(filepath.Join(dir, "local.db"), sqlite3vfs.OpenMainDB)
	for _, tc := range []struct {
		name string
		of   sqlite3vfs.OpenFlag
	}{
		{filepath.Join(dir, "local.db-journal"), sqlite3vfs.OpenMainJournal},
		{"app.db-mj012345678", sqlite3vfs.OpenSuperJournal},
	} {
		f := open(tc.name, tc.of)
		if _, err := f.WriteAt(make([]byte, 512), 0); err != nil { // SQLite takes an empty file for none
			t.Errorf("%s: %v", tc.name, err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		exists := func() bool {
			t.Helper()
			ok, err := vfs.Access(tc.name, sqlite3vfs.AccessExists)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			return ok
		}
		if !exists() {
			t.Errorf("%s does not exist", tc.name)
		}
		if err := vfs.Delete(tc.name, false); err != nil || exists() {
			t.Errorf("%s: %v after it was deleted", tc.name, err)
		}
	}
	if got := fileNames(t, dir); got != "local.db" {
		t.Errorf("files: %s", got)
	}
	if err := errors.Join(local.Close(), replica.Close()); err != nil {
		t.Error(err)
	}
}

// TestPsanford_NameOfLocal writes to a replica whose name begins with that of a local
// file and a dash. Its journal is in memory.
func TestPsanford_NameOfLocal(t *testing.T) {
	t.Chdir(t.TempDir())
	client := memoryClient()
	registerPsanford(t, &psanfordSlot, nil, writing(func(o *litestream.Options) {
		o.NewClient = func(name string) (litestream.ReplicaClient, error) {
			if name == "app-eu" {
				return client, nil
			}
			return nil, nil
		}
	}))
	local, replica := connectC(t, dsn(overPsanford, "app")), connectC(t, dsn(overPsanford, "app-eu"))
	mustExec(t, local, "CREATE TABLE t (x)")
	mustExec(t, replica, "PRAGMA cache_size = 1; BEGIN; CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(100000))")
	if got := fileNames(t, "."); got != "app" {
		t.Errorf("files within a transaction of the replica: %s", got)
	}
	mustExec(t, local, "BEGIN; INSERT INTO t VALUES (1)")
	if got := fileNames(t, "."); got != "app app-journal" {
		t.Errorf("files within transactions of both: %s", got)
	}
	mustExec(t, local, "COMMIT")
	mustExec(t, replica, "COMMIT")
	wantSQL(t, local, "SELECT count(*) FROM t", "1")
	wantSQL(t, replica, "SELECT count(*) FROM t", "1")
}
