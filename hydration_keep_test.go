package litestream

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// openKeptDB opens a database with a hydration file, and returns its log, too.
func openKeptDB(t testing.TB, client ReplicaClient, path string, opts Options) (db *database, log *testlog.Buffer) {
	t.Helper()
	log = new(testlog.Buffer)
	opts.HydrationEnabled, opts.HydrationPath, opts.PollInterval = true, path, -1
	opts.Logger = slog.New(slog.NewTextHandler(log, nil))
	db, err := openAlone(t.Context(), "app.db", client, opts.withDefaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return db, log
}

// wantCopied opens a database with a hydration file that may be a copy. All pages are
// right, and the log says what became of the file.
func wantCopied(t *testing.T, p *ltxtest.Primary, client ReplicaClient, path, said string) {
	t.Helper()
	db, log := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
	defer closeDB(t, db)
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
	wantAll(t, p, db)
	if !strings.Contains(log.String(), said) {
		t.Errorf("nothing says %q:\n%s", said, log)
	}
}

func closeDB(t testing.TB, db *database) {
	t.Helper()
	if err := db.close(context.Background()); err != nil {
		t.Error(err)
	}
}

// A hydration file survives restarts: only new pages are read.
func TestHydration_Resume(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	all := db.hydrator.Progress().Bytes
	closeDB(t, db)

	const most = true // most of the pages change
	for _, tc := range []struct {
		most   bool
		change func()
	}{
		{!most, func() {}},
		{!most, func() { p.Exec("UPDATE t SET n = n + 1 WHERE id < 20") }},
		{most, func() { p.Exec("DELETE FROM t WHERE id > 1400"); p.Exec("VACUUM"); p.Compact(1, p.TXID()-1, p.TXID()) }},
		{!most, func() {
			// Of the files that the record knows, only a compacted one remains.
			p.Exec("UPDATE t SET n = n + 1 WHERE id < 5")
			p.Compact(2, 1, p.TXID()-1)
			p.Snapshot()
			p.DeleteLevelBelow(0, p.TXID())
		}},
	} {
		tc.change()
		db, log := openKeptDB(t, client, path, Options{})
		awaitHydrated(t, db)
		wantLocal(t, p, db, db.Current.Load())
		if n := db.hydrator.Progress().Bytes; n > all/2 && !tc.most {
			t.Errorf("%d of %d bytes are read again\n%s", n, all, log)
		}
		if !strings.Contains(log.String(), "hydration goes on with") {
			t.Errorf("the file was not used:\n%s", log)
		}
		closeDB(t, db)
	}
}

// After a new snapshot, all pages have new versions. Unchanged pages are not
// read again.
func TestHydration_ResumeAfterSnapshot(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	closeDB(t, db)

	from := p.TXID() + 1
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id < 5")
	p.Compact(1, from, p.TXID())
	p.Snapshot()
	db, log := openKeptDB(t, client, path, Options{})
	defer closeDB(t, db)
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
	if n := db.hydrator.Progress().Bytes; n > 100_000 {
		t.Errorf("%d bytes are read for a few rows\n%s", n, log)
	}
}

// After a restart with one changed page in a hundred, at most two bytes in a
// hundred are read again.
func TestHydration_RestartReadsLittle(t *testing.T) {
	client := newHookClient()
	p := bigPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	all := db.hydrator.Progress().Bytes
	closeDB(t, db)
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id BETWEEN 2000 AND 2043")
	db, log := openKeptDB(t, client, path, Options{})
	defer closeDB(t, db)
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
	v, changed := db.Current.Load(), 0
	for pgno := uint32(1); pgno <= v.Commit; pgno++ {
		if loc, ok := v.Lookup(pgno); ok && loc.File.Level == 0 {
			changed++
		}
	}
	if share := float64(changed) / float64(v.Commit); share < 0.008 || share > 0.012 {
		t.Fatalf("%.1f %% of the pages have changed", 100*share)
	}
	// The index of the file with the changes is read once more, to learn which
	// pages they are.
	read := db.hydrator.Progress().Bytes + v.Last.Size
	t.Logf("%d of %d bytes", read, all)
	if read*50 > all {
		t.Errorf("%d of %d bytes are read again\n%s", read, all, log)
	}
}

// Files that do not match the record are recognised.
func TestHydration_BadFiles(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	good := t.TempDir()
	db, _ := openKeptDB(t, client, filepath.Join(good, "local.db"), Options{})
	awaitHydrated(t, db)
	closeDB(t, db)
	p.Exec("UPDATE t SET n = n + 1 WHERE id = 3")

	other := newHookClient()
	counterPrimary(t, other, 20)

	for _, tt := range []struct {
		name   string
		damage func(path string) error
		reason string
	}{
		{"cut off", func(path string) error { return os.Truncate(path, 4096) }, "it has 4096 bytes"},
		{"emptied", func(path string) error { return os.Truncate(path, 0) }, "it has 0 bytes"},
		{"other content", func(path string) error {
			b, err := os.ReadFile(path)
			if err == nil {
				slices.Reverse(b)
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		}, "is not what was written"},
		{"half a record", func(path string) error { return os.Truncate(path+"-hydration", 100) }, "cut off"},
		{"a bit of the record", func(path string) error {
			b, err := os.ReadFile(path + "-hydration")
			if err == nil {
				b[60] ^= 1
				err = os.WriteFile(path+"-hydration", b, 0o600)
			}
			return err
		}, "checksum mismatch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			copyDir(t, dir, good)
			path := filepath.Join(dir, "local.db")
			if err := tt.damage(path); err != nil {
				t.Fatal(err)
			}
			db, log := openKeptDB(t, client, path, Options{})
			defer closeDB(t, db)
			awaitHydrated(t, db)
			wantLocal(t, p, db, db.Current.Load())
			if !strings.Contains(log.String(), tt.reason) {
				t.Errorf("the log does not say %q:\n%s", tt.reason, log)
			}
		})
	}
	t.Run("another replica", func(t *testing.T) {
		dir := t.TempDir()
		copyDir(t, dir, good)
		db, log := openKeptDB(t, other, filepath.Join(dir, "local.db"), Options{})
		defer closeDB(t, db)
		awaitHydrated(t, db)
		if !strings.Contains(log.String(), "starts over") {
			t.Errorf("it is not recognised:\n%s", log)
		}
	})
	t.Run("a replica that went back", func(t *testing.T) {
		dir := t.TempDir()
		copyDir(t, dir, good)
		again := newHookClient()
		q := rowsPrimary(t, again) // the same transactions, other rows
		db, log := openKeptDB(t, again, filepath.Join(dir, "local.db"), Options{})
		defer closeDB(t, db)
		awaitHydrated(t, db)
		wantLocal(t, q, db, db.Current.Load())
		_ = log
	})
}

func copyDir(t testing.TB, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// crashCopies keeps what a crash would leave of a hydration file and its
// record. A crash of the process leaves everything; a crash of the machine
// loses what was not synced, or parts of it.
type crashCopies struct {
	path string
	dir  string
	rng  *rand.Rand

	mu     sync.Mutex
	synced []byte // guarded by mu; the file as it was last synced
	copies []string
	tables int // copies with a table
	ops    map[string]int
}

func (c *crashCopies) did(op string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// The table is of the same moment as the file if it does not change meanwhile.
	// After a crash of the machine it is not believed, so no other copy has it.
	table, _ := os.ReadFile(c.path + "-shared")
	data, err := os.ReadFile(c.path)
	if err != nil {
		return err
	}
	if again, _ := os.ReadFile(c.path + "-shared"); !bytes.Equal(table, again) {
		table = nil
	}
	if op == "after: sync" {
		c.synced = data
	}
	c.ops[op]++
	if n := c.ops[op]; n > 12 && n%9 != 0 {
		return nil // there are enough copies of this kind
	}
	power := bytes.Clone(c.synced)
	torn := bytes.Clone(c.synced)
	if len(torn) < len(data) {
		torn = append(torn, make([]byte, len(data)-len(torn))...)
	}
	for off := 0; off < len(data); off += 512 {
		if c.rng.IntN(2) == 0 {
			copy(torn[off:min(off+512, len(torn))], data[off:min(off+512, len(data))])
		}
	}
	for kind, data := range map[string][]byte{"process": data, "power": power, "torn": torn} {
		dir := filepath.Join(c.dir, fmt.Sprintf("%s-%d-%s", strings.NewReplacer(" ", "_", ":", "").Replace(op), c.ops[op], kind))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		// What is appended later is in the link, too, so the content is kept beside it.
		link := filepath.Join(dir, "record")
		err := os.Link(c.path+"-hydration", link)
		if err == nil {
			var record []byte
			if record, err = os.ReadFile(link); err == nil {
				err = os.WriteFile(filepath.Join(dir, "local.db-hydration"), record, 0o600)
			}
		} else if os.IsNotExist(err) {
			err = nil
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "local.db"), data, 0o600)
		}
		if err == nil && kind == "process" && len(table) > 0 {
			c.tables++
			err = os.WriteFile(filepath.Join(dir, "local.db-shared"), table, 0o600)
		}
		if err != nil {
			return err
		}
		c.copies = append(c.copies, dir)
	}
	return nil
}

// restore makes the files what they were when a copy was made. The file of pages
// stays the same one, and that of the record becomes the one that was there, which
// copies are not.
func (c *crashCopies) restore(t *testing.T, dir string) {
	t.Helper()
	err := os.Remove(c.path + "-hydration")
	if err == nil || os.IsNotExist(err) {
		err = os.Link(filepath.Join(dir, "record"), c.path+"-hydration")
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-hydration", "-shared"} {
		b, err := os.ReadFile(filepath.Join(dir, "local.db"+suffix))
		switch {
		case err == nil:
			err = os.WriteFile(c.path+suffix, b, 0o600)
		case os.IsNotExist(err):
			err = os.Remove(c.path + suffix)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
}

// TestHydration_Crash reopens what a crash leaves at every write and sync, with
// the replica in its later state.
func TestHydration_Crash(t *testing.T) {
	client := newHookClient()
	p := smallPrimary(t, client)
	c := &crashCopies{dir: t.TempDir(), path: filepath.Join(t.TempDir(), "local.db"), rng: rand.New(rand.NewPCG(1, 1)), ops: make(map[string]int)}
	for range 3 {
		db, _ := openKeptDB(t, client, c.path, Options{onDisk: c.did, HydrationConcurrency: 2})
		awaitHydrated(t, db)
		for i := range 4 {
			p.Exec(fmt.Sprintf("UPDATE t SET n = n + 1, b = randomblob(100) WHERE id %% 20 = %d", i))
			mustRefresh(t, db)
			awaitHydrated(t, db)
		}
		closeDB(t, db)
		p.Exec("DELETE FROM t WHERE id % 3 = 1")
		p.Exec("VACUUM")
		p.Exec("INSERT INTO t SELECT NULL, n, b FROM t")
	}
	for _, op := range []string{"write pages", "sync", "write record", "append to record"} {
		if c.ops["before: "+op] == 0 || c.ops["after: "+op] == 0 {
			t.Errorf("nothing was done like %q: %v", op, c.ops)
		}
	}
	if c.tables < len(c.copies)/12 {
		t.Errorf("of %d copies, %d have a table", len(c.copies), c.tables)
	}
	used := 0
	step := len(c.copies) / testscale.Repeats(len(c.copies))
	tried := 0
	for i := 0; i < len(c.copies); i += step {
		dir := c.copies[i]
		tried++
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c.restore(t, dir)
			db, log := openKeptDB(t, client, c.path, Options{})
			defer closeDB(t, db)
			awaitHydrated(t, db)
			wantLocal(t, p, db, db.Current.Load())
			if strings.Contains(log.String(), "goes on with what") {
				used++
			}
		})
	}
	if used < tried/2 {
		t.Errorf("of %d files, %d were of use", tried, used)
	}
}

// smallPrimary is a primary with some 50 small pages.
func smallPrimary(t testing.TB, store ltxtest.Store) *ltxtest.Primary {
	t.Helper()
	p := ltxtest.New(t, store, ltxtest.Options{PageSize: 512})
	p.Exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, b BLOB)")
	p.Exec("WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 150)" +
		" INSERT INTO t SELECT i, i, randomblob(100) FROM c")
	p.Snapshot()
	return p
}

// While the file is opened, the view moves on to pages of another size, either
// because the database was just created or because the replica was replaced.
func TestHydration_PageSizeChangesAtOpen(t *testing.T) {
	for _, tc := range []struct{ name, before, after string }{
		{"new database", "", "512"},
		{"smaller pages", "4096", "512"},
		{"larger pages", "512", "4096"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := newHookClient()
			primary := func(pageSize string, start time.Time) *ltxtest.Primary {
				n, err := strconv.Atoi(pageSize)
				if err != nil {
					t.Fatal(err)
				}
				p := ltxtest.New(t, client, ltxtest.Options{PageSize: n, Start: start})
				p.Exec("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(20000))")
				return p
			}
			start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			opts := Options{WriteEnabled: tc.before == ""} // without write mode the replica must hold a database
			var old *ltxtest.Primary
			if tc.before != "" {
				old = primary(tc.before, start)
			}
			opening, proceed := make(chan struct{}), make(chan struct{})
			var once sync.Once
			opts.onDisk = func(op string) error {
				if op == "before: write record" { // and not an earlier operation of the writer
					once.Do(func() { close(opening); <-proceed })
				}
				return nil
			}
			db, log := openKeptDB(t, client, filepath.Join(t.TempDir(), "local.db"), opts)
			defer closeDB(t, db)
			defer func() {
				if t.Failed() || strings.Contains(log.String(), "panic") {
					t.Errorf("log:\n%s", log)
				}
			}()
			<-opening
			if old != nil {
				old.DeleteLevelBelow(0, old.TXID()+1)
			}
			p := primary(tc.after, start.Add(24*time.Hour))
			if err := db.poller.poll(true); err != nil {
				t.Error(err)
			}
			close(proceed)
			awaitHydrated(t, db)
			if got := db.Current.Load().PageSize; int(got) != p.PageSize() {
				t.Fatalf("page size %d", got)
			}
			wantAll(t, p, db)
			wantLocal(t, p, db, db.Current.Load())
		})
	}
}
