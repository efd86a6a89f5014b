package main

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"github.com/psanford/sqlite3vfs"

	"github.com/ltxvfs/litestream"
)

// Our writer writes to the replica of upstream's primary, which runs. The primary
// uploads without a condition, so its transaction takes the place of ours. The
// writer learns of that at its next sync, keeps what is not on the replica, and
// writes nothing from then on. The replica is as if only the primary had written.
// docs/recipes.md says so.
func TestInteropWrite_RunningPrimary(t *testing.T) {
	for _, store := range writeStores {
		t.Run(store.name, func(t *testing.T) {
			theirs, our := store.connect(t)(t, "running/app.db")
			p := newUpstreamPrimary(t, theirs)
			makeHistory(t, p)

			vfs := litestream.NewVFS(our, &litestream.Options{
				WriteEnabled: true, WriteSyncInterval: -1, WriteBufferPath: filepath.Join(t.TempDir(), "buffer"), Logger: testLogger(t),
			})
			name := "running-" + store.name
			if err := sqlite3vfs.RegisterVFS(name, vfs); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite3", "file:app.db?vfs="+name)
			if err != nil {
				t.Fatal(err)
			}
			sync := func() error { return vfs.Sync(t.Context(), "app.db") }
			if _, err := db.ExecContext(t.Context(), "INSERT INTO kinds VALUES (1000, 'ours')"); err != nil {
				t.Fatal(err)
			}
			if err := sync(); err != nil {
				t.Fatal(err)
			}
			// In a folder, a file that takes the place of another one is noticed by its
			// size or its time, and both may be made within a millisecond.
			p.commit(t, "INSERT INTO kinds VALUES (1001, 'theirs ' || hex(randomblob(200)))")

			if _, err := db.ExecContext(t.Context(), "INSERT INTO kinds VALUES (1002, 'ours, too')"); err != nil {
				t.Fatal(err)
			}
			if err := sync(); !errors.Is(err, litestream.ErrConflict) {
				t.Errorf("the sync after that of the primary: %v, want ErrConflict", err)
			}
			p.commit(t, "INSERT INTO kinds VALUES (1003, 'theirs, too')")
			if _, err := db.ExecContext(t.Context(), "INSERT INTO kinds VALUES (1004, 'ours, again')"); err == nil {
				t.Error("the writer goes on")
			}
			_ = db.Close()
			if err := vfs.Close(context.Background()); !errors.Is(err, litestream.ErrConflict) {
				t.Errorf("close: %v, want ErrConflict", err)
			}

			reader := openReader(t, our)
			reader.follow(t, p.last().txid)
			reader.wantState(t, p.last().state)
			path, err := restoreAt(t, theirs, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := databaseState(t, openSQLite(t, path)); got != p.last().state {
				t.Errorf("restored:\n%s\nwant:\n%s", shorten(got), shorten(p.last().state))
			}
		})
	}
}
