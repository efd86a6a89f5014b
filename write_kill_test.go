package litestream_test

import (
	"database/sql"
	"flag"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/killtest"
)

var kills = flag.Int("kills", 150, "how often TestPromise5_Kill kills a process")

// TestPromise5_Kill kills processes that write, at random moments, while storage
// fails now and then.
func TestPromise5_Kill(t *testing.T) {
	dir := t.TempDir()
	killtest.Run(t, dir, *kills)
	path := filepath.Join(t.TempDir(), "restored.db")
	restore(t, file.NewReplicaClient(dir), path)
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	wantSQL(t, db, "PRAGMA integrity_check", "ok")
	wantSQL(t, db, "SELECT count(*) FROM (SELECT 1 FROM c GROUP BY conn HAVING count(*) <> 3 * max(n))", "0")
}
