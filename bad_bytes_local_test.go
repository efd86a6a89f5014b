package litestream_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/badbytes"
)

// damageFiles damages local files, and says how.
func (w *badWorld) damageFiles(paths []string) {
	for range 1 + w.rng.IntN(2) {
		path := paths[w.rng.IntN(len(paths))]
		info, err := os.Stat(path) // it can be sparse and very large
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				w.fail("look at a local file: %v", err)
			}
			continue
		}
		note := fmt.Sprintf("%s of %d bytes: ", filepath.Base(path), info.Size())
		switch size := info.Size(); w.rng.IntN(5) {
		case 0:
			n := w.rng.Int64N(size + 1)
			err = os.Truncate(path, n)
			note += fmt.Sprintf("cut to %d", n)
		case 1:
			err = os.Truncate(path, size+w.rng.Int64N(1<<20))
			note += "longer"
		default:
			var f *os.File
			if f, err = os.OpenFile(path, os.O_RDWR, 0); err == nil {
				at := w.rng.Int64N(size + 1)
				if w.rng.IntN(2) == 0 {
					at = w.rng.Int64N(min(size, 400) + 1)
				}
				bytes := make([]byte, 1<<w.rng.UintN(7))
				for i := range bytes {
					bytes[i] = byte(w.rng.Uint32()) | byte(at%3)*127
				}
				_, err = f.WriteAt(bytes, at)
				err = errors.Join(err, f.Close())
				note += fmt.Sprintf("%d bytes at %d", len(bytes), at)
			}
		}
		if err != nil {
			w.fail("damage a local file: %v", err)
		}
		w.result.damage.Notes = append(w.result.damage.Notes, note)
	}
}

// local damages the files that hydration has left.
func (w *badWorld) local() {
	path := filepath.Join(w.dir, "copy.db")
	client := badbytes.NewClient(until(w.intact, w.sample.txids[w.rng.IntN(len(w.sample.txids))]))
	opts := w.options()
	opts.HydrationEnabled, opts.HydrationPath = true, path
	if w.rng.IntN(4) == 0 {
		opts.HydrationMode = litestream.HydratePages
	}
	if d := w.open(0, client, opts); d != nil {
		if opts.HydrationMode == "" {
			d.hydrated()
		}
		d.check()
		d.close()
	}
	w.damageFiles([]string{path, path + "-hydration", path + "-hydration", path + "-shared"})
	w.lax = true // of a page in a local file only samples are compared
	w.replace(client, w.damaged)
	if w.rng.IntN(2) == 0 {
		w.replace(client, w.intact)
	}
	if w.rng.IntN(4) == 0 {
		client.SetMode(badbytes.Offline)
		opts.OfflineAfter = time.Second
	}
	d := w.open(0, client, opts)
	if d == nil {
		return
	}
	defer d.close()
	d.check()
	if opts.HydrationMode == "" && opts.OfflineAfter == 0 {
		d.hydrated()
	}
	d.check()
}

// shared damages files while two readers share them.
func (w *badWorld) shared() {
	path := filepath.Join(w.dir, "copy.db")
	client := badbytes.NewClient(w.damaged)
	if w.rng.IntN(2) == 0 {
		w.replace(client, w.intact)
	}
	opts := w.options()
	opts.HydrationEnabled, opts.HydrationPath, opts.PollInterval = true, path, time.Second
	a := w.open(0, client, opts)
	if a == nil {
		return
	}
	defer a.close()
	if w.rng.IntN(2) == 0 {
		a.hydrated()
	}
	if w.rng.IntN(2) == 0 {
		w.lax = true
		w.damageFiles([]string{path, path + "-shared", path + "-shared", path + "-hydration"})
	}
	b := w.open(1, client, opts)
	if b == nil {
		return
	}
	defer func() { b.close() }()
	b.check()
	a.check()
	if w.rng.IntN(2) == 0 {
		w.lax = true
		w.damageFiles([]string{path, path + "-shared", path + "-shared"})
	}
	w.replace(client, w.damaged)
	time.Sleep(3 * time.Second)
	b.check()
	a.close()
	time.Sleep(time.Minute)
	b.check()
}

// buffer damages commits that a process has left.
func (w *badWorld) buffer() {
	path := filepath.Join(w.dir, "buffer")
	client := badbytes.NewClient(w.intact)
	opts := w.options()
	opts.WriteEnabled, opts.WriteSyncInterval, opts.WriteBufferPath = true, -1, path
	d := w.open(0, client, opts)
	if d == nil {
		w.fail("the intact replica cannot be written")
		return
	}
	client.SetMode(badbytes.ReadOnly)
	d.query("CREATE TABLE IF NOT EXISTS bad_bytes (x)")
	for i := range 1 + w.rng.IntN(4) {
		d.query("INSERT INTO bad_bytes VALUES (?), (zeroblob(3000))", i)
	}
	d.close()
	client.SetMode(badbytes.Online)
	if paths, err := filepath.Glob(path + "*"); err != nil || len(paths) == 0 {
		w.fail("there is no buffer, %v", err)
	} else if w.rng.IntN(4) > 0 {
		w.damageFiles(paths)
	}
	if w.rng.IntN(2) == 0 {
		w.replace(client, w.damaged)
	}
	if d = w.open(0, client, opts); d == nil {
		return
	}
	defer d.close()
	n, err := d.query("SELECT count(*) FROM bad_bytes WHERE typeof(x) = 'integer'")
	if err == nil && !slices.Contains([]string{"0", "1", "2", "3", "4"}, n) && !w.lax {
		w.fail("%s rows", n)
	}
	d.query("INSERT INTO bad_bytes VALUES (77)")
	d.query("PRAGMA litestream_sync")
	d.query("SELECT * FROM bad_bytes LIMIT 100")
}
