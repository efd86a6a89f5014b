package litestream_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// A local database whose name begins like that of a link opened before.
func TestReview_LocalNameLikeCompanion(t *testing.T) {
	dir := t.TempDir()
	store := memoryClient()
	newPrimary(t, store, ltxOpts(), 10)
	vfsName, _ := newVFS(t, store, &litestream.Options{})
	conn := openConn(t, vfsName, "app.db")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	link, other := filepath.Join(dir, "a.db"), filepath.Join(dir, "a.db-2024")
	if err := os.Symlink(filepath.Join(dir, "sub", "real.db"), link); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, "ATTACH '"+link+"' AS a")
	mustExec(t, conn, "CREATE TABLE a.x (y)")
	mustExec(t, conn, "ATTACH '"+other+"' AS b")
	mustExec(t, conn, "CREATE TABLE b.x (y)")
	for _, f := range []string{other, filepath.Join(dir, "sub", "real.db-2024")} {
		_, err := os.Stat(f)
		t.Logf("%s: %v", f, err)
		if (f == other) != (err == nil) {
			t.Errorf("wrong: %s", f)
		}
	}
}

// The working directory changes between two opens of one relative name.
func TestReview_LocalChdir(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	store := memoryClient()
	newPrimary(t, store, ltxOpts(), 10)
	vfsName, _ := newVFS(t, store, &litestream.Options{})
	conn := openConn(t, vfsName, "app.db")
	t.Chdir(a)
	mustExec(t, conn, "ATTACH 'l.db' AS a")
	mustExec(t, conn, "CREATE TABLE a.x (y)")
	mustExec(t, conn, "DETACH a")
	t.Chdir(b)
	mustExec(t, conn, "ATTACH 'l.db' AS a")
	if got := mustQuery(t, conn, "SELECT count(*) FROM a.sqlite_schema"); got != "0" {
		t.Errorf("the new l.db has %s tables: it is that of another folder", got)
	}
}

func ltxOpts() ltxtest.Options { return ltxtest.Options{} }
