package litestream

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/internal/testscale"
)

// onDemand are options under which a database keeps what queries fetch, and nothing
// in memory.
var onDemand = Options{HydrationMode: HydratePages, CacheSize: -1, ReadAheadSize: -1}

// readPages reads pages of the newest view, and waits until they are local. Step is
// the distance between two of them.
func readPages(t testing.TB, p *ltxtest.Primary, db *database, first, step uint32) {
	t.Helper()
	v := db.Current.Load()
	for pgno := first; pgno <= v.Commit; pgno += step {
		wantPage(t, p, db, v, pgno)
		await(t, "a page to be local", func() bool { return isLocal(db, v, pgno) })
	}
}

// wantNoRequests expects that a function makes no read request.
func wantNoRequests(t testing.TB, db *database, what string, fn func()) {
	t.Helper()
	before, _ := db.store.TotalReads()
	fn()
	if n, _ := db.store.TotalReads(); n != before {
		t.Errorf("%s takes %d read requests", what, n-before)
	}
}

// With HydratePages, the local file has what was read, and nothing else is read.
func TestHydration_PagesOnly(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, path, onDemand)
	readPages(t, p, db, 7, 5)
	wantNoRequests(t, db, "a second read", func() { readPages(t, p, db, 7, 5) })
	s := db.hydrator.Progress()
	if s.Status != hydrate.OnDemand || s.Bytes != 0 || s.Pages < s.TotalPages/5 || s.Pages > s.TotalPages/2 || s.Progress >= 50 {
		t.Errorf("%+v", s)
	}
	closeDB(t, db)

	// The next process goes on with the pages that have not changed.
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 100 = 3")
	db, log := openKeptDB(t, client, path, onDemand)
	v, kept := db.Current.Load(), 0
	await(t, "the file to be open", func() bool { return db.hydrator.View() == v })
	if !strings.Contains(log.String(), "goes on with what") {
		t.Errorf("the file was not used:\n%s", log)
	}
	wantNoRequests(t, db, "reading what was kept", func() {
		for pgno := uint32(7); pgno <= v.Commit; pgno += 5 {
			if isLocal(db, v, pgno) {
				kept++
				wantPage(t, p, db, v, pgno)
			}
		}
	})
	if kept < int(v.Commit)/6 {
		t.Errorf("only %d of %d pages were kept", kept, v.Commit/5)
	}
	// News make the pages absent that have changed.
	p.Exec("UPDATE t SET n = n + 1")
	mustRefresh(t, db)
	await(t, "the news", func() bool { return db.hydrator.View() == db.Current.Load() })
	wantAll(t, p, db)
	readPages(t, p, db, 1, 1)
	wantLocal(t, p, db, db.Current.Load())
	if s := db.hydrator.Progress(); s.Status != hydrate.OnDemand || s.Progress >= 100 || s.Pages != s.TotalPages {
		t.Errorf("all pages are local, and no checksum was compared: %+v", s)
	}
	closeDB(t, db)

	// Hydration of all pages compares their checksums, and reads few of them again.
	db, _ = openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	if s := db.hydrator.Progress(); s.VerifiedPages+s.UnverifiablePages != s.TotalPages {
		t.Errorf("%+v", s)
	}
	closeDB(t, db)
	db, _ = openKeptDB(t, client, path, onDemand)
	defer closeDB(t, db)
	await(t, "the file to be open", func() bool { return db.hydrator.View() == db.Current.Load() })
	wantNoRequests(t, db, "reading the complete file", func() { wantAll(t, p, db) })
}

// A scan reads faster than pages are written. All of them come to the file.
func TestHydration_PagesOfAScan(t *testing.T) {
	client := newHookClient()
	p := bigPrimary(t, client)
	db := openHere(t, client, Options{HydrationEnabled: true, HydrationMode: HydratePages, PollInterval: -1, CacheSize: 64 << 10})
	v := db.Current.Load()
	await(t, "the local file", func() bool { return db.hydrator.View() == v })
	all := make([]uint32, 0, v.Commit)
	for pgno := uint32(1); pgno <= v.Commit; pgno++ {
		all = append(all, pgno)
	}
	for len(all) > 0 {
		n := db.prefetcher.Prefetch(v, all[:min(len(all), 4096)], 0, nil)
		all = all[max(n, 1):]
	}
	await(t, "all pages to be local", func() bool { return db.hydrator.Progress().Pages == v.Pages.Len() })
	wantNoRequests(t, db, "reading all pages", func() { wantAll(t, p, db) })
}

// TestHydration_PagesCrash reopens what a crash leaves at every write and sync of a
// file with the pages that were read.
func TestHydration_PagesCrash(t *testing.T) {
	client := newHookClient()
	p := smallPrimary(t, client)
	c := &crashCopies{dir: t.TempDir(), path: filepath.Join(t.TempDir(), "local.db"), rng: rand.New(rand.NewPCG(2, 2)), ops: make(map[string]int)}
	opts := onDemand
	opts.onDisk = c.did
	for round := range uint32(3) {
		db, _ := openKeptDB(t, client, c.path, opts)
		readPages(t, p, db, 1+round, 2)
		for i := range 3 {
			p.Exec(fmt.Sprintf("UPDATE t SET n = n + 1, b = randomblob(100) WHERE id %% 20 = %d", i))
			mustRefresh(t, db)
			readPages(t, p, db, 1+round, 3)
		}
		closeDB(t, db)
		p.Exec("DELETE FROM t WHERE id % 3 = 1")
		p.Exec("INSERT INTO t SELECT NULL, n, b FROM t")
	}
	used, tried := 0, 0
	for i := 0; i < len(c.copies); i += len(c.copies) / testscale.Repeats(len(c.copies)) {
		dir := c.copies[i]
		tried++
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c.restore(t, dir)
			db, log := openKeptDB(t, client, c.path, onDemand)
			defer closeDB(t, db)
			await(t, "the file to be open", func() bool { return db.hydrator.View() == db.Current.Load() })
			wantAll(t, p, db)
			readPages(t, p, db, 1, 1)
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

// A file with pages that were read is refused if a page that its record has a
// checksum of has changed, or the replica is another one.
func TestHydration_PagesOfBadFiles(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	good := filepath.Join(t.TempDir(), "local.db")
	db, _ := openKeptDB(t, client, good, onDemand)
	readPages(t, p, db, 3, 40) // so few that the record has a checksum of each
	closeDB(t, db)
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(good + "-hydration")
	if err != nil {
		t.Fatal(err)
	}
	other := newHookClient()
	q := rowsPrimary(t, other)
	for _, pgno := range []int{3, 43, 83, 123, 0} {
		client, p := client, p
		if pgno == 0 {
			client, p = other, q
		}
		path := filepath.Join(t.TempDir(), "local.db")
		bad := append([]byte(nil), data...)
		if pgno > 0 {
			bad[(pgno-1)*4096+100] ^= 4
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+"-hydration", record, 0o600); err != nil {
			t.Fatal(err)
		}
		db, log := openKeptDB(t, client, path, onDemand)
		await(t, "the file to be open", func() bool { return db.hydrator.View() != nil })
		wantAll(t, p, db)
		if !strings.Contains(log.String(), "cannot be used") {
			t.Errorf("page %d: the file is used:\n%s", pgno, log)
		}
		closeDB(t, db)
	}
}
