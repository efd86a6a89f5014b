package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/superfly/ltx"
)

// dataset is a database in two forms: a replica, and the file that results from
// restoring the replica.
type dataset struct {
	*source
	frames  bool   // pages are LZ4 frames instead of blocks
	plain   string // path of the restored file
	replica string // folder of the replica

	files     int // number of files of level 0
	pages     int
	snapshot  *ltx.FileInfo
	frameSize map[uint32]int64 // size of the newest frame of each page, in bytes
}

func (d *dataset) String() string {
	if d.frames {
		return d.name + " (LZ4 frames)"
	}
	return d.name
}

// makeBase creates the database from which snapshots are made.
func makeBase(ctx context.Context, path string, src *source) (err error) {
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		return err
	}
	defer closeInto(db, &err)
	db.SetMaxOpenConns(1)
	// A database that Litestream replicates is in WAL mode.
	for _, s := range append([]string{
		fmt.Sprintf("PRAGMA page_size = %d", src.pageSize),
		"PRAGMA journal_mode = OFF",
		"PRAGMA synchronous = OFF",
		"PRAGMA cache_size = -400000",
	}, src.schema...) {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.40s: %w", s, err)
		}
	}
	if err := inTx(ctx, db, func(tx *sql.Tx) error {
		return src.fill(ctx, tx, src.rows, rand.New(rand.NewPCG(src.seed, 0)))
	}); err != nil {
		return fmt.Errorf("fill %s: %w", src.name, err)
	}
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode = WAL"); err != nil {
		return fmt.Errorf("set wal mode: %w", err)
	}
	return nil
}

// makeDataset creates a replica in dir with a snapshot of the base and some
// files of level 0.
func makeDataset(ctx context.Context, base, dir string, src *source, files int, frames bool) (*dataset, error) {
	d := &dataset{source: src, frames: frames, files: files, plain: filepath.Join(dir, "plain.db"), replica: filepath.Join(dir, "replica")}
	if err := copyFile(d.plain, base); err != nil {
		return nil, fmt.Errorf("copy base: %w", err)
	}
	w := newReplicaWriter(d.replica, src.pageSize, frames)
	if err := w.snapshot(ctx, d.plain); err != nil {
		return nil, fmt.Errorf("write snapshot: %w", err)
	}
	if files > 0 {
		if err := d.addFiles(ctx, w, files); err != nil {
			return nil, fmt.Errorf("write files of level 0: %w", err)
		}
	}
	fi, err := os.Stat(d.plain)
	if err != nil {
		return nil, err
	}
	d.pages = int(fi.Size()) / src.pageSize
	d.snapshot = w.snapshotInfo
	return d, nil
}

// addFiles changes the database in the given number of transactions and writes
// a file with the changes of each.
func (d *dataset) addFiles(ctx context.Context, w *replicaWriter, files int) (err error) {
	db, err := sql.Open("sqlite3", "file:"+d.plain)
	if err != nil {
		return err
	}
	defer closeInto(db, &err)
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "PRAGMA synchronous = OFF"); err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(d.seed, 1))
	before, err := os.ReadFile(d.plain)
	if err != nil {
		return err
	}
	for range files {
		if err := inTx(ctx, db, func(tx *sql.Tx) error { return d.change(ctx, tx, d.rows, rng) }); err != nil {
			return err
		}
		var busy, logged, moved int
		if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &logged, &moved); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		if before, err = w.addChanges(ctx, d.plain, before); err != nil {
			return err
		}
	}
	return nil
}

// loadFrameSizes fills in frameSize from the page indexes of the replica.
func (d *dataset) loadFrameSizes() error {
	if d.frameSize != nil {
		return nil
	}
	paths, err := filepath.Glob(filepath.Join(d.replica, "ltx", "0", "*.ltx"))
	if err != nil {
		return err
	}
	snapshot := filepath.Join(d.replica, "ltx", "9", ltx.FormatFilename(d.snapshot.MinTXID, d.snapshot.MaxTXID))
	sizes := make(map[uint32]int64)
	for _, path := range append([]string{snapshot}, paths...) { // Glob sorts the paths, so newer files come later
		if err := readFrameSizes(path, sizes); err != nil {
			return fmt.Errorf("read page index of %s: %w", filepath.Base(path), err)
		}
	}
	d.frameSize = sizes
	return nil
}

// ltxBytes returns the total size of the newest frames of pages.
func (d *dataset) ltxBytes(pages []uint32) (n int64) {
	for _, pgno := range pages {
		n += d.frameSize[pgno]
	}
	return n
}

// keys returns the result of a query for n random rows. The same seed gives the
// same rows.
func (d *dataset) keys(ctx context.Context, query string, n int, seed uint64) (keys []any, err error) {
	db, err := sql.Open("sqlite3", "file:"+d.plain)
	if err != nil {
		return nil, err
	}
	defer closeInto(db, &err)
	rng := rand.New(rand.NewPCG(d.seed, seed))
	for range n {
		var key any
		if err := db.QueryRowContext(ctx, query, 1+rng.IntN(d.rows)).Scan(&key); err != nil {
			return nil, fmt.Errorf("choose keys: %w", err)
		}
		if b, ok := key.([]byte); ok {
			key = bytes.Clone(b)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func inTx(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func copyFile(dst, src string) (err error) {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(dst), 0o700); err != nil {
		return err
	}
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer closeInto(out, &err)
	_, err = io.Copy(out, in)
	return err
}

func closeInto(c io.Closer, err *error) {
	if cerr := c.Close(); *err == nil {
		*err = cerr
	}
}
