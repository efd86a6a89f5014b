package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	upstreamlib "github.com/benbjohnson/litestream"
	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
)

// TestInterop makes upstream Litestream replicate a database to each store and
// reads the replica with our VFS. Then upstream reads files that our clients
// write. The test needs servers:
//
//	eval "$(../scripts/servers start)"
//	go test -run TestInterop .
func TestInterop(t *testing.T) {
	for _, store := range interopStores {
		t.Run(store.name, func(t *testing.T) {
			connect := store.connect(t)
			theirs, our := connect(t, "theirs/app.db")
			p := newUpstreamPrimary(t, theirs)
			makeHistory(t, p)
			reader := openReader(t, our)

			t.Run("query", func(t *testing.T) { reader.wantState(t, p.state(t)) })
			t.Run("files", func(t *testing.T) { checkListings(t, theirs, our) })
			t.Run("maintain", func(t *testing.T) {
				theirCopy, ourCopy := connect(t, "copied/app.db")
				checkMaintain(t, p, theirs, our, theirCopy, ourCopy)
				theirImport, ourImport := connect(t, "imported/app.db")
				checkImport(t, p, our, ourImport, theirImport)
			})
			t.Run("travel", func(t *testing.T) { checkTravel(t, p, reader, our) })
			t.Run("follow", func(t *testing.T) { checkFollow(t, p, reader) })
			t.Run("retention", func(t *testing.T) { checkRetention(t, p, reader, theirs, our) })
			t.Run("reverse", func(t *testing.T) {
				theirCopy, ourCopy := connect(t, "ours/app.db")
				copied := copyFiles(t, our, ourCopy)
				checkCopy(t, copied, theirCopy, ourCopy)
				checkRestore(t, p, theirCopy)
			})
		})
	}
}

// makeHistory creates a history with files of level 0, one file of level 1, a
// snapshot, and transactions that neither of the latter two contains.
func makeHistory(t *testing.T, p *upstreamPrimary) {
	t.Helper()
	p.commit(t, "CREATE TABLE kinds (id INTEGER PRIMARY KEY, kind TEXT)",
		"CREATE TABLE items (id INTEGER PRIMARY KEY, kind_id INT, n REAL, body BLOB)",
		"INSERT INTO kinds VALUES (0, 'nil'), (1, 'one'), (2, 'zwei ü')")
	p.commit(t, `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 600)
		INSERT INTO items SELECT i, i % 3, i / 8.0, zeroblob(i % 400) || printf('%0200d', i * 7919) FROM c`)
	p.commit(t, "CREATE INDEX items_kind ON items (kind_id, n)")
	p.compact(t, 1)
	p.commit(t, "UPDATE items SET n = -n WHERE id % 5 = 0")
	p.checkpoint(t)
	p.commit(t, "DELETE FROM items WHERE id > 400")
	p.compact(t, upstreamlib.SnapshotLevel)
	p.commit(t, "VACUUM") // shrinks the database
	p.commit(t, "ALTER TABLE items ADD COLUMN note TEXT DEFAULT 'added'",
		"UPDATE items SET note = NULL WHERE id = 3")
}

// checkListings compares the listings of two clients, also with the timestamps
// in the files themselves and with the listing of all levels at once.
func checkListings(t *testing.T, theirs upstreamlib.ReplicaClient, our interopClient) {
	t.Helper()
	ctx := t.Context()
	want, got := listLevels(t, theirs), listLevels(t, our)
	wantSameFiles(t, "ours", got, want)
	levels := make(map[int]bool)
	for _, info := range got {
		levels[info.Level] = true
		hdr := readHeader(t, our, info)
		if at := time.UnixMilli(hdr.Timestamp); !info.CreatedAt.Equal(at) {
			t.Errorf("%s is of %v, its header of %v", fileName(info), info.CreatedAt, at)
		}
	}
	for _, level := range []int{0, 1, upstreamlib.SnapshotLevel} {
		if !levels[level] {
			t.Errorf("there are no files of level %d", level)
		}
	}
	if lister, ok := our.(litestream.AllLTXFilesLister); ok {
		all, err := lister.AllLTXFiles(ctx, true)
		if err != nil {
			t.Fatal(err)
		}
		wantSameFiles(t, "AllLTXFiles", collect(t, all), want)
	}

	// List from the middle of a level on.
	last := lastOfLevel0(got)
	for name, client := range map[string]lister{"theirs": theirs, "ours": our} {
		itr, err := client.LTXFiles(ctx, 0, last.MinTXID, true)
		if err != nil {
			t.Fatal(err)
		}
		wantSameFiles(t, name+" from "+last.MinTXID.String(), collect(t, itr), []*ltx.FileInfo{last})
	}
}

// checkTravel travels to each transaction of the history, by its number and by
// its time, and back to the newest state.
func checkTravel(t *testing.T, p *upstreamPrimary, reader *interopReader, our interopClient) {
	t.Helper()
	var changes []*ltx.FileInfo // files of level 0 with one transaction each
	for _, info := range listLevels(t, our) {
		if info.Level == 0 {
			changes = append(changes, info)
		}
	}
	for _, point := range p.history {
		reader.query(t, fmt.Sprintf("PRAGMA litestream_txid = '%s'", point.txid))
		reader.wantState(t, point.state)

		var at time.Time
		for _, info := range changes {
			if info.MaxTXID == point.txid {
				at = info.CreatedAt
			}
		}
		want := point.txid
		for _, info := range changes {
			if !info.CreatedAt.After(at) {
				want = info.MaxTXID // a checkpoint can have the same millisecond
			}
		}
		reader.query(t, fmt.Sprintf("PRAGMA litestream_time = '%s'", at.Format(time.RFC3339Nano)))
		if got := reader.query(t, "PRAGMA litestream_txid"); got != want.String() {
			t.Errorf("at the time of transaction %s it is %s, want %s", point.txid, got, want)
		}
		reader.wantState(t, point.state)
	}
	reader.query(t, "PRAGMA litestream_txid = latest")
	reader.wantState(t, p.state(t))
}

func checkFollow(t *testing.T, p *upstreamPrimary, reader *interopReader) {
	t.Helper()
	for _, statement := range []string{"UPDATE items SET note = 'followed' WHERE id < 50", "INSERT INTO kinds VALUES (3, 'new')"} {
		p.commit(t, statement)
		reader.follow(t, p.last().txid)
		reader.wantState(t, p.state(t))
	}
}

// checkRetention makes upstream compact and delete files while a reader is
// connected.
func checkRetention(t *testing.T, p *upstreamPrimary, reader *interopReader, theirs upstreamlib.ReplicaClient, our interopClient) {
	t.Helper()
	p.compact(t, 1)
	compacted := p.last()
	p.deleteCompacted(t)
	p.commit(t, "UPDATE items SET n = 0 WHERE id = 7")
	reader.follow(t, p.last().txid)
	reader.wantState(t, p.state(t))

	wantSameFiles(t, "ours", listLevels(t, our), listLevels(t, theirs))
	reader.query(t, fmt.Sprintf("PRAGMA litestream_txid = '%s'", compacted.txid))
	reader.wantState(t, compacted.state)
	gone := p.history[0].txid
	runtime.GC() // the state that the reader has left may be in memory until then
	if _, err := queryText(t.Context(), reader.conn, fmt.Sprintf("PRAGMA litestream_txid = '%s'", gone)); err == nil {
		t.Errorf("went to transaction %s, which is within a compacted file", gone)
	}
	reader.query(t, "PRAGMA litestream_txid = latest")
	// This reader has not seen the deleted files.
	openReader(t, our).wantState(t, p.state(t))
}

// copyFiles copies the files of one replica to another.
func copyFiles(t *testing.T, from, to interopClient) []*ltx.FileInfo {
	t.Helper()
	infos := listLevels(t, from)
	for _, info := range infos {
		b := readFile(t, from, info, 0, 0)
		got, err := to.WriteLTXFile(t.Context(), info.Level, info.MinTXID, info.MaxTXID, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		wantSameFiles(t, "WriteLTXFile", []*ltx.FileInfo{got}, []*ltx.FileInfo{info})
	}
	return infos
}

// checkCopy makes upstream list and read files that our client wrote.
func checkCopy(t *testing.T, want []*ltx.FileInfo, theirs upstreamlib.ReplicaClient, our interopClient) {
	t.Helper()
	wantSameFiles(t, "theirs", listLevels(t, theirs), want)
	for _, info := range want {
		for _, r := range []struct{ offset, size int64 }{{0, 0}, {0, ltx.HeaderSize}, {info.Size / 2, 10}, {info.Size - ltx.TrailerSize, 0}} {
			if !bytes.Equal(readFile(t, theirs, info, r.offset, r.size), readFile(t, our, info, r.offset, r.size)) {
				t.Errorf("%s from %d, size %d: not the same bytes", fileName(info), r.offset, r.size)
			}
		}
	}
}

// checkRestore makes upstream restore the database from files that our client
// wrote.
func checkRestore(t *testing.T, p *upstreamPrimary, theirs upstreamlib.ReplicaClient) {
	t.Helper()
	opts := upstreamlib.NewRestoreOptions()
	opts.OutputPath = filepath.Join(t.TempDir(), "restored.db")
	if err := upstreamlib.NewReplicaWithClient(nil, theirs).Restore(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	if got, want := databaseState(t, openSQLite(t, opts.OutputPath)), p.state(t); got != want {
		t.Errorf("restored:\n%s\nwant:\n%s", got, want)
	}
}
