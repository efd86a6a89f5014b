package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

const pageSize = 4096

// makeReplica creates a replica of a database of about 25 MB in a folder. The
// replica is one snapshot, in the form that a primary writes.
func makeReplica(ctx context.Context, dir string) (litestream.ReplicaClient, error) {
	path := filepath.Join(dir, "primary.db")
	if err := makeDatabase(ctx, path); err != nil {
		return nil, fmt.Errorf("make database: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var snapshot bytes.Buffer
	if err := encode(&snapshot, content); err != nil {
		return nil, fmt.Errorf("make snapshot: %w", err)
	}
	client := file.NewReplicaClient(filepath.Join(dir, "replica"))
	_, err = client.WriteLTXFile(ctx, litestream.SnapshotLevel, 1, 1, &snapshot)
	return client, err
}

func makeDatabase(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		fmt.Sprintf("PRAGMA page_size = %d", pageSize),
		"PRAGMA journal_mode = OFF",
		"CREATE TABLE readings (id INTEGER PRIMARY KEY, device INTEGER, noise BLOB)",
		`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
			INSERT INTO readings SELECT i, i % 100, randomblob(900) FROM n`,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// encode encodes a database file as an LTX file.
func encode(w *bytes.Buffer, content []byte) error {
	enc, err := ltx.NewEncoder(w)
	if err != nil {
		return err
	}
	commit := uint32(len(content) / pageSize)
	if err := enc.EncodeHeader(ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: pageSize, Commit: commit,
		MinTXID: 1, MaxTXID: 1, Timestamp: time.Now().UnixMilli(),
	}); err != nil {
		return err
	}
	for pgno := uint32(1); pgno <= commit; pgno++ {
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, content[(pgno-1)*pageSize:pgno*pageSize]); err != nil {
			return err
		}
	}
	return enc.Close()
}
