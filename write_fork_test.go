package litestream_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/superfly/ltx"
)

// isKept reports whether a file beside a write buffer contains a text.
func isKept(t *testing.T, path, text string) bool {
	t.Helper()
	names, err := filepath.Glob(path + "?*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

// awaitLaterStamps waits until a new write gets a later timestamp than some commits
// before it. Commits that follow each other within a millisecond have timestamps ahead
// of the clock, a millisecond for each of them at most.
func awaitLaterStamps(t *testing.T, commits int) {
	t.Helper()
	last := time.Now().UnixMilli() + int64(commits)
	waitFor(t, "later timestamps", func() bool { return time.Now().UnixMilli() > last })
}

// TestPromise6_BaseRolledBack rolls a replica back under a writer that has a
// commit to upload. If no other writer writes, the writer restores what is
// missing. If one does, its rows stay as they are, and the commit is kept.
func TestPromise6_BaseRolledBack(t *testing.T) {
	for _, other := range []int{0, 1, 2, 3, 6} { // number of transactions of another writer after the third
		t.Run(fmt.Sprint(other), func(t *testing.T) {
			client, backup := memoryClient(), memoryClient()
			path := filepath.Join(t.TempDir(), "buffer")
			vfsName, _ := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
			db := openConn(t, vfsName, "app.db")
			commit := func(q querier, text string) { mustExec(t, q, "INSERT INTO t VALUES (?)", text) }
			mustExec(t, db, "CREATE TABLE t (v)")
			for i := range 5 {
				if i > 0 {
					commit(db, fmt.Sprint("first-", i+1))
				}
				mustExec(t, db, "PRAGMA litestream_sync")
				if i == 2 {
					putFiles(t, backup, client)
				}
			}
			commit(db, "waiting-commit")
			awaitLaterStamps(t, 6)
			emptyReplica(t, client)
			putFiles(t, client, backup)
			want := "first-2,first-3"
			if other == 0 {
				want += ",first-4,first-5,waiting-commit"
			} else {
				otherName, _ := newVFS(t, client, writing())
				q := openConn(t, otherName, "app.db")
				for i := range other {
					commit(q, fmt.Sprint("second-", i+4))
					want += fmt.Sprint(",second-", i+4)
					mustExec(t, q, "PRAGMA litestream_sync")
				}
			}
			const all = "SELECT group_concat(v) FROM t"
			_, err := db.ExecContext(t.Context(), "PRAGMA litestream_sync")
			switch {
			case other == 0 && err != nil:
				t.Errorf("sync: %v: %s", err, lastError(db))
			case other > 0 && err == nil:
				t.Error("the writer does not notice the other one")
			case other > 0:
				// A conflict is reported while the files of the buffer are being renamed.
				waitFor(t, "the commit that waited to be kept", func() bool { return isKept(t, path, "waiting-commit") })
			}
			waitFor(t, "the writer to take its file back", func() bool {
				return other == 0 || !slices.ContainsFunc(listFiles(t, client), func(f *ltx.FileInfo) bool { return f.MaxTXID > ltx.TXID(3+other) })
			})
			freshName, _ := newVFS(t, client, nil)
			fresh := openConn(t, freshName, "app.db")
			wantSQL(t, fresh, all, want)
			wantSQL(t, fresh, "PRAGMA integrity_check", "ok")
			waitFor(t, "the writer to see the replica's rows", func() bool {
				got, err := queryText(db, all)
				return err == nil && got == want
			})
			wantSQL(t, db, "PRAGMA integrity_check", "ok")
		})
	}
}

// TestWrite_PageSizeChangedUnderCommits replaces the database by one with
// larger pages while a commit waits for its upload. The commit is kept, and the
// connection continues as a reader of the new database.
func TestWrite_PageSizeChangedUnderCommits(t *testing.T) {
	client := memoryClient()
	path := filepath.Join(t.TempDir(), "buffer")
	vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "CREATE TABLE t (v)")
	mustExec(t, db, "PRAGMA litestream_sync")
	mustExec(t, db, "INSERT INTO t VALUES ('waiting-commit')")
	p := ltxtest.New(t, memoryClient(), ltxtest.Options{PageSize: 8192, Start: time.Now().Add(time.Minute)})
	p.Exec("CREATE TABLE u (x); INSERT INTO u VALUES ('new')")
	pages := make(map[uint32][]byte)
	image := p.Image(1)
	for i := 0; i < len(image); i += 8192 {
		pages[uint32(i/8192+1)] = image[i:][:8192]
	}
	b := ltxtest.EncodeLTX(ltx.Header{
		PageSize: 8192, Commit: uint32(len(pages)), MinTXID: 2, MaxTXID: 2, Timestamp: p.Time(1).UnixMilli(),
	}, pages, false)
	if _, err := client.WriteLTXFile(t.Context(), 0, 2, 2, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	if err := vfs.Sync(t.Context(), "app.db"); !errors.Is(err, litestream.ErrConflict) {
		t.Errorf("sync: %v", err)
	}
	// A conflict is reported while the files of the buffer are being renamed.
	waitFor(t, "the commit that waited to be kept", func() bool { return isKept(t, path, "waiting-commit") })
	waitFor(t, "the new database", func() bool {
		got, err := queryText(db, "SELECT x FROM u")
		return err == nil && got == "new"
	})
	wantSQL(t, db, "PRAGMA page_size", "8192")
	wantSQL(t, db, "PRAGMA integrity_check", "ok")
}

// TestPromise7_SchemaOfAnotherHistory replaces a replica by one with the same
// schema cookie and other tables in the same places. An open connection does
// not read the new rows with the old schema.
func TestPromise7_SchemaOfAnotherHistory(t *testing.T) {
	client, newer := memoryClient(), memoryClient()
	old := ltxtest.New(t, client, ltxtest.Options{})
	old.Exec("CREATE TABLE a (x)")
	old.Exec("INSERT INTO a VALUES ('old')")
	vfsName, _ := newVFS(t, client, &litestream.Options{PollInterval: fastPoll})
	db, past := openConn(t, vfsName, "app.db"), openConn(t, vfsName, "app.db")
	wantSQL(t, db, "SELECT x FROM a", "old")
	wantSQL(t, past, "SELECT x FROM a", "old")
	q := ltxtest.New(t, newer, ltxtest.Options{Start: old.Time(2).Add(time.Hour)})
	q.Exec("CREATE TABLE b (y)")
	q.Exec("INSERT INTO b VALUES ('new')")
	q.Exec("INSERT INTO b VALUES ('newer')")
	emptyReplica(t, client)
	putFiles(t, client, newer)
	var err error
	waitFor(t, "the other history", func() bool {
		var got string
		if got, err = queryText(db, "SELECT x FROM a"); err == nil && got != "old" {
			t.Fatalf("rows of table b are taken for those of table a: %s", got)
		}
		return err != nil
	})
	wantSQL(t, db, "SELECT group_concat(y) FROM b", "new,newer")
	mustExec(t, past, "PRAGMA litestream_txid = '0000000000000002'")
	wantSQL(t, past, "SELECT y FROM b", "new")
}
