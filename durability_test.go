package litestream_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/memory"
)

// durabilityRow is what a row of the table of durability in docs/writing.md is about.
type durabilityRow struct {
	buffer      bool // there is a WriteBufferPath
	onCommit    bool // SyncOnCommit
	synchronous []string
}

// durabilityRows are the rows by their heading.
var durabilityRows = map[string]durabilityRow{
	"no `WriteBufferPath`": {synchronous: []string{"OFF", "FULL"}},
	"`WriteBufferPath`, `PRAGMA synchronous` NORMAL to EXTRA (FULL is SQLite's default)": {buffer: true, synchronous: []string{"NORMAL", "FULL", "EXTRA"}},
	"`WriteBufferPath`, `PRAGMA synchronous = OFF`":                                      {buffer: true, synchronous: []string{"OFF"}},
	"`SyncOnCommit`": {onCommit: true, synchronous: []string{"OFF", "FULL"}},
}

// These are the answers of the table.
const (
	atOnce       = "at once"
	fromNextSync = "from the next sync on"
	orNextCommit = "from the next sync on, or from a commit with another setting"
)

// disk knows which bytes of a write buffer survive a loss of power.
type disk struct {
	path string

	mu     sync.Mutex
	synced map[string]int64 // guarded by mu; sizes of segments
}

// note is called before and after each operation on local files.
func (d *disk) note(op string) error {
	if op != "after: sync segment" {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	names, err := filepath.Glob(d.path + "-*")
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		d.synced[name] = info.Size()
	}
	return nil
}

// left returns the path of a copy of the buffer, as it is after a process was killed,
// or after power was lost.
func (d *disk) left(t *testing.T, power bool) string {
	t.Helper()
	path := copyBuffer(t, d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	names, err := filepath.Glob(d.path + "-*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if to := path + strings.TrimPrefix(name, d.path); power {
			if err := os.Truncate(to, d.synced[name]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return path
}

// TestDurability checks each cell of the table in docs/writing.md: a process is
// killed, power is lost, or the machine is, after a commit that was synced and one that
// was not.
func TestDurability(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("docs", "writing.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n| | process killed | power lost | machine lost |\n|---|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if !found || len(rows) != len(durabilityRows) {
		t.Fatalf("the table has %d rows, want %d", len(rows), len(durabilityRows))
	}
	for _, line := range rows {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		row, known := durabilityRows[cells[0]]
		if !known || len(cells) != 4 {
			t.Fatalf("unknown row: %s", line)
		}
		for _, synchronous := range row.synchronous {
			t.Run(strings.ReplaceAll(cells[0], "`", "")+"/"+synchronous, func(t *testing.T) {
				testDurability(t, row, synchronous, cells[1:])
			})
		}
	}
}

func testDurability(t *testing.T, row durabilityRow, synchronous string, answers []string) {
	client := memory.NewReplicaClient()
	d := &disk{path: filepath.Join(t.TempDir(), "buffer"), synced: make(map[string]int64)}
	opts := writing(func(o *litestream.Options) { o.SyncOnCommit, o.CompactionDisabled = row.onCommit, true })
	if row.buffer {
		opts.WriteBufferPath = d.path
		litestream.OnDisk(opts, d.note)
	}
	vfsName, vfs := newVFSOnly(t, client, opts)
	t.Cleanup(func() { _ = vfs.Close(context.Background()) }) // the replica has gone on by then
	db := openConn(t, vfsName, "app.db")
	mustExec(t, db, "PRAGMA synchronous = "+synchronous+"; CREATE TABLE t (v); INSERT INTO t VALUES ('synced')")
	mustSync(t, vfs)
	mustExec(t, db, "INSERT INTO t VALUES ('committed')")

	// survives returns the rows that the next process sees on another machine, or with
	// what is left of the buffer.
	survives := func(power, machine bool) string {
		t.Helper()
		next := writing()
		if row.buffer && !machine {
			next.WriteBufferPath = d.left(t, power)
		}
		name, vfs := newVFSOnly(t, cloneReplica(t, client), next)
		defer func() {
			if err := vfs.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		conn := openConn(t, name, "app.db")
		defer conn.Close()
		return mustQuery(t, conn, "SELECT group_concat(v) FROM t")
	}
	losses := []struct {
		name           string
		power, machine bool
	}{{"process killed", false, false}, {"power lost", true, false}, {"machine lost", false, true}}
	for i, loss := range losses {
		want := "synced"
		if answers[i] == atOnce {
			want = "synced,committed"
		} else if answers[i] != fromNextSync && answers[i] != orNextCommit {
			t.Errorf("unknown answer %q", answers[i])
		}
		if got := survives(loss.power, loss.machine); got != want {
			t.Errorf("%s: %s is left, and the table says %q", loss.name, got, answers[i])
		}
	}
	mustExec(t, db, "PRAGMA synchronous = FULL; INSERT INTO t VALUES ('later')")
	for i, loss := range losses {
		if answers[i] == orNextCommit || answers[i] == atOnce {
			if got := survives(loss.power, loss.machine); got != "synced,committed,later" {
				t.Errorf("%s after a commit with synchronous = FULL: %s is left", loss.name, got)
			}
		}
	}
	mustSync(t, vfs)
	if got := survives(true, true); got != "synced,committed,later" {
		t.Errorf("machine lost after a sync: %s is left", got)
	}
}
