package litestream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/superfly/ltx"
)

// A process whose clock is a day ahead makes files. Compaction of the next process,
// whose clock is right, does not wait for that day.
func TestCompaction_ClockAhead(t *testing.T) {
	client := memoryClient()
	synctest.Test(t, func(t *testing.T) {
		for _, ahead := range []time.Duration{24 * time.Hour, 0} {
			opts := litestream.Options{
				WriteEnabled: true, PollInterval: -1, L0Retention: -1, SnapshotInterval: time.Hour,
				CompactionLevels: []time.Duration{30 * time.Second},
			}
			litestream.SetClock(&opts, func() time.Time { return time.Now().Add(ahead) })
			vfsName, vfs := newVFS(t, client, &opts)
			db := openConn(t, vfsName, "app.db")
			mustExec(t, db, "CREATE TABLE IF NOT EXISTS t (v); INSERT INTO t VALUES (1)")
			mustExec(t, db, "PRAGMA litestream_sync")
			time.Sleep(90 * time.Minute)
			if ahead > 0 { // it leaves a file that is not compacted
				mustExec(t, db, "INSERT INTO t VALUES (2)")
				mustExec(t, db, "PRAGMA litestream_sync")
			}
			if err := vfs.Close(t.Context()); err != nil {
				t.Error(err)
			}
			_ = db.Close()
		}
	})
	itr, err := client.AllLTXFiles(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	var last [litestream.SnapshotLevel + 1]ltx.TXID
	for itr.Next() {
		f := itr.Item()
		last[f.Level] = max(last[f.Level], f.MaxTXID)
	}
	if last[1] != 3 || last[litestream.SnapshotLevel] != 3 {
		t.Errorf("the newest transactions of the levels are %v, want 3 at level 1 and of the snapshot", last)
	}
}
