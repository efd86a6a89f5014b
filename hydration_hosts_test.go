package litestream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/pageshare"
)

// needsSharing skips a test where processes cannot share a file.
func needsSharing(t *testing.T) {
	t.Helper()
	if err := pageshare.Supported(); err != nil {
		t.Skip("files are not shared here:", err)
	}
}

// wantBack waits until a database that has used a temporary file has the one at a
// path, with every page, and has read nothing again.
func wantBack(t *testing.T, db *database, path string, bytes int64) {
	t.Helper()
	await(t, "the file at the path", func() bool {
		p := db.hydrator.Progress()
		return p.File == path && p.Status == hydrate.Complete && p.Progress == 100
	})
	if n := db.hydrator.Progress().Bytes; n != bytes {
		t.Errorf("%d bytes are read again", n-bytes)
	}
}

// wantAlone waits until a database has all pages in a temporary file, and returns
// how many bytes it has read for them.
func wantAlone(t *testing.T, db *database, path string) (bytes int64) {
	t.Helper()
	await(t, "a temporary file", func() bool {
		p := db.hydrator.Progress()
		return p.File != "" && p.File != path && p.Owner == 0 && p.Status == hydrate.Complete
	})
	return db.hydrator.Progress().Bytes
}

// A database that cannot use the file at its path goes on with a temporary one. When
// the process is gone that had the file, it comes back, with the pages that it has.
func TestShare_ReturnsToOwn(t *testing.T) {
	needsSharing(t)
	client := newHookClient()
	p := rowsPrimary(t, client)
	for name, keep := range map[string]bool{"a new file": false, "a file with a record": true} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "local.db")
			if keep {
				keepCopy(t, client, path)
				if err := os.Remove(path + pageshare.Suffix); err != nil {
					t.Fatal(err)
				}
			}
			other, _, err := pagefile.OpenMarked(path, nil) // a process that does not share it
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				db, log := openKeptDB(t, client, path, Options{})
				defer closeDB(t, db)
				bytes := wantAlone(t, db, path)
				time.Sleep(time.Hour)
				if db.hydrator.Progress().File == path {
					t.Error("it uses a file that another process has locked")
				}
				if err := other.Close(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Minute)
				wantBack(t, db, path, bytes)
				wantLocal(t, p, db, db.Current.Load())
				if n := strings.Count(log.String(), "a temporary one is used"); n != 1 {
					t.Errorf("the log says %d times that it cannot be used\n%s", n, log)
				}
			})
			// It has become the file of the next process.
			db, log := openKeptDB(t, client, path, Options{})
			defer closeDB(t, db)
			awaitHydrated(t, db)
			wantLocal(t, p, db, db.Current.Load())
			if n := db.hydrator.Progress().Bytes; n != 0 {
				t.Errorf("%d bytes are read again\n%s", n, log)
			}
		})
	}
}

// Storage does not answer when a database comes back to the file at its path. The
// pages of the temporary file are enough.
func TestShare_ReturnsWithoutStorage(t *testing.T) {
	needsSharing(t)
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	if err := os.Remove(path + pageshare.Suffix); err != nil {
		t.Fatal(err)
	}
	other, _, err := pagefile.OpenMarked(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		db, _ := openKeptDB(t, client, path, Options{})
		defer closeDB(t, db)
		bytes := wantAlone(t, db, path)
		client.set(refuses)
		defer client.set(nil)
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		wantBack(t, db, path, bytes)
		wantLocal(t, p, db, db.Current.Load())
	})
}

// An owner that cannot make the table, because the disk is full, makes it when there
// is room. A database that went on with a temporary file borrows again then.
func TestShare_TableOnFullDisk(t *testing.T) {
	needsSharing(t)
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		first, log := openKeptDB(t, client, path, Options{onDisk: func(op string) error {
			if full.Load() && op == "before: share" {
				return fmt.Errorf("write: %w", syscall.ENOSPC)
			}
			return nil
		}})
		defer closeDB(t, first)
		awaitHydrated(t, first)
		second, _ := openKeptDB(t, client, path, Options{})
		defer closeDB(t, second)
		bytes := wantAlone(t, second, path)
		time.Sleep(time.Minute)
		if n := strings.Count(log.String(), "cannot share the hydration file"); n != 1 {
			t.Errorf("the log says it %d times\n%s", n, log)
		}
		full.Store(false)
		await(t, "the file of the first", func() bool { return borrowed(second) })
		if n := second.hydrator.Progress().Bytes; n != bytes {
			t.Errorf("%d bytes are read again", n-bytes)
		}
		p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 10 = 3")
		mustRefresh(t, first)
		mustRefresh(t, second)
		await(t, "the news", func() bool { return borrowed(second) })
		wantAll(t, p, second)
	})
}

// Somebody removes the table of a file that is in use, or cuts it off. Its owner makes
// another one before the others give up.
func TestShare_TableRemoved(t *testing.T) {
	needsSharing(t)
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	synctest.Test(t, func(t *testing.T) {
		first, log := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
		defer closeDB(t, first)
		awaitHydrated(t, first)
		second, log2 := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
		defer closeDB(t, second)
		await(t, "the file of the first", func() bool { return borrowed(second) })
		table := path + pageshare.Suffix
		for _, lost := range []struct {
			how string
			do  func() error
		}{
			{"removed", func() error { return os.Remove(table) }},
			{"emptied", func() error { return os.Truncate(table, 0) }},
			{"cut off in the head", func() error { return os.Truncate(table, 5000) }},
			{"cut off in the words", func() error { return os.Truncate(table, 70<<10) }},
			{"emptied and grown", func() error { return errors.Join(os.Truncate(table, 0), os.Truncate(table, 1<<20)) }},
		} {
			if err := lost.do(); err != nil {
				t.Fatal(err)
			}
			p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 10 = 3")
			mustRefresh(t, first)
			awaitHydrated(t, first)
			mustRefresh(t, second)
			time.Sleep(9 * time.Second) // less than the second one waits for a table
			await(t, "another table in place of one that is "+lost.how, func() bool { return borrowed(second) })
			wantNoRequests(t, second, "reading from the file of the first", func() { wantAll(t, p, second) })
		}
		if s := second.hydrator.Progress(); s.Bytes != 0 || strings.Contains(log2.String(), "temporary") {
			t.Errorf("%+v\n%s", s, log2)
		}
		if strings.Contains(log.String(), "level=WARN") {
			t.Error(log)
		}
	})
}

// A file system on which files are not shared is used by one process. The next one
// goes on with a temporary file at once, and gets the file when the first has ended.
func TestShare_NetworkFileSystem(t *testing.T) {
	needsSharing(t)
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	network := func(op string) error {
		if op == "before: share" || op == "before: borrow" {
			return fmt.Errorf("%w: it is on a network file system", pageshare.ErrNotShared)
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		first, _ := openKeptDB(t, client, path, Options{onDisk: network})
		awaitHydrated(t, first)
		if got := first.hydrator.Progress().File; got != path {
			t.Errorf("the first uses %s", got)
		}
		if _, err := os.Stat(path + pageshare.Suffix); err == nil {
			t.Error("there is a table")
		}
		start := time.Now()
		second, log := openKeptDB(t, client, path, Options{onDisk: network})
		defer closeDB(t, second)
		bytes := wantAlone(t, second, path)
		if d := time.Since(start); d > time.Second {
			t.Errorf("it waits %s", d)
		}
		if !strings.Contains(log.String(), "network file system") {
			t.Error(log)
		}
		time.Sleep(time.Minute)
		closeDB(t, first)
		wantBack(t, second, path, bytes)
		wantLocal(t, p, second, second.Current.Load())
	})
}

// A copy of a file that is in use has pages of one moment and a record of another. It
// is not used, and one of a file that is closed is.
func TestHydration_CopyInUse(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	path := filepath.Join(t.TempDir(), "local.db")
	copied := func(early string, content []byte) string {
		dir := t.TempDir()
		copyFiles(t, filepath.Dir(path), dir)
		if err := os.WriteFile(filepath.Join(dir, early), content, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "local.db")
	}
	var pagesFirst, recordFirst string
	synctest.Test(t, func(t *testing.T) {
		db, _ := openKeptDB(t, client, path, Options{})
		awaitHydrated(t, db)
		time.Sleep(time.Minute) // for a checkpoint
		pages, err := os.ReadFile(path)
		record, err2 := os.ReadFile(path + "-hydration")
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		p.Exec("UPDATE t SET b = randomblob(1000) WHERE id IN (703, 1203)")
		mustRefresh(t, db)
		awaitHydrated(t, db)
		time.Sleep(time.Minute)
		synctest.Wait() // nothing is written just now
		pagesFirst, recordFirst = copied("local.db", pages), copied("local.db-hydration", record)
		closeDB(t, db)
	})
	closed := t.TempDir()
	copyFiles(t, filepath.Dir(path), closed)
	for _, suffix := range []string{"", "-hydration", pageshare.Suffix} {
		b, err := os.ReadFile(pagesFirst + suffix)
		if err == nil {
			err = os.WriteFile(path+suffix, b, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	for name, path := range map[string]string{"the pages first": pagesFirst, "the pages first, written back in place": path} {
		t.Run(name, func(t *testing.T) {
			wantCopied(t, p, client, path, "a copy of a file that was in use")
		})
	}
	t.Run("the record first", func(t *testing.T) {
		client.set(hangs)
		defer client.set(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*offlineSoon)
		defer cancel()
		opts := Options{HydrationEnabled: true, HydrationPath: recordFirst, PollInterval: -1, OfflineAfter: offlineSoon}
		db, err := openAlone(ctx, "app.db", client, opts.withDefaults(), nil)
		if err == nil {
			wantView(t, p, db, db.Current.Load())
			closeDB(t, db)
		}
		if err == nil || !strings.Contains(err.Error(), "a copy of a file that was in use") {
			t.Errorf("it opens offline: %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		db, log := openKeptDB(t, client, filepath.Join(closed, "local.db"), Options{CacheSize: -1, ReadAheadSize: -1})
		defer closeDB(t, db)
		awaitHydrated(t, db)
		wantLocal(t, p, db, db.Current.Load())
		if n := db.hydrator.Progress().Bytes; n != 0 {
			t.Errorf("%d bytes are read again\n%s", n, log)
		}
	})
}

// A backup of the file and its record is written back to the same files. The table
// beside them is of a later state, and of no use.
func TestHydration_BackupInPlace(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	backup := make(map[string][]byte)
	for _, suffix := range []string{"", "-hydration"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		backup[path+suffix] = b
	}
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id IN (703, 1203)")
	keepCopy(t, client, path)
	for path, b := range backup {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantCopied(t, p, client, path, "goes on with")
}

// Another path names the same file, with a record of its own, as a backup by hard
// links does. News that come to the file by one path do not come to the record of the
// other.
func TestHydration_HardLink(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	path, other := filepath.Join(t.TempDir(), "local.db"), filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	for _, suffix := range []string{"", "-hydration", pageshare.Suffix} {
		if err := os.Link(path+suffix, other+suffix); err != nil {
			t.Skip(err)
		}
	}
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id IN (703, 1203)")
	db, log := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	wantLocal(t, p, db, db.Current.Load())
	closeDB(t, db)
	if !strings.Contains(log.String(), "hard links") {
		t.Error(log)
	}
	client.set(refuses)
	db, _ = openKeptDB(t, client, other, Options{OfflineAfter: offlineSoon, CacheSize: -1})
	wantView(t, p, db, db.Current.Load())
	closeDB(t, db)
	client.set(nil)
	for _, path := range []string{path, other} { // neither disturbs the other any more
		db, log = openKeptDB(t, client, path, Options{})
		awaitHydrated(t, db)
		wantLocal(t, p, db, db.Current.Load())
		closeDB(t, db)
		if strings.Contains(log.String(), "hard links") {
			t.Error(log)
		}
	}
}

// The owner's file is removed and made again by another process while it is in use.
func TestShare_FileRemade(t *testing.T) {
	needsSharing(t)
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	open := func() *database {
		db, _ := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
		t.Cleanup(func() { closeDB(t, db) })
		return db
	}
	first := open()
	awaitHydrated(t, first)
	second := open()
	await(t, "the file of the first", func() bool { return borrowed(second) })
	for _, suffix := range []string{"", "-hydration", pageshare.Suffix} {
		if err := os.Remove(path + suffix); err != nil {
			t.Fatal(err)
		}
	}
	third := open()
	all := []*database{first, second, third}
	for i := range 2 {
		await(t, "one owner, and all at one file", func() bool {
			owners := 0
			for _, db := range all {
				s := db.hydrator.Progress()
				if s.File != path || s.Status != hydrate.Complete || s.Progress != 100 || db.hydrator.View() == nil != (s.Owner != 0) {
					return false
				}
				if s.Owner == 0 {
					owners++
				}
			}
			return owners == 1
		})
		for _, db := range all {
			wantAll(t, p, db)
		}
		if i == 0 {
			p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 10 = 3")
			for _, db := range all {
				mustRefresh(t, db)
			}
		}
	}
}
