package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"math/rand/v2"
)

// blocksSource is the block map of a disk image. For each block of 64 KiB it
// stores the location of the block. Blocks are identified by the hash of their
// content and packed into objects with others.
func blocksSource(rows int) *source {
	return &source{
		name: "blocks", pageSize: 4096, rows: rows, seed: 1,
		schema: []string{
			`CREATE TABLE blocks (
				id INTEGER PRIMARY KEY,
				hash BLOB NOT NULL,
				pack INTEGER NOT NULL,
				offset INTEGER NOT NULL,
				len INTEGER NOT NULL)`,
			`CREATE INDEX blocks_hash ON blocks (hash)`,
		},
		fill:   fillBlocks,
		change: overwriteBlocks,
		first:  "SELECT id, hash FROM blocks LIMIT 1",
		lookups: []lookup{
			{byPrimaryKey, "SELECT hash, pack, offset FROM blocks WHERE id = ?", "SELECT id FROM blocks WHERE id = ?"},
			{"hash index", "SELECT id, pack, offset FROM blocks WHERE hash = ?", "SELECT hash FROM blocks WHERE id = ?"},
		},
		ranges: []rangeScan{
			{"primary key", `SELECT count(*), sum(len), sum(length(hash)) FROM
				(SELECT len, hash FROM blocks WHERE id >= ? ORDER BY id LIMIT ?)`, "SELECT id FROM blocks WHERE id = ?"},
			{"hash index", `SELECT count(*), sum(len), sum(pack) FROM
				(SELECT len, pack FROM blocks INDEXED BY blocks_hash WHERE hash >= ? ORDER BY hash LIMIT ?)`,
				"SELECT CAST(x'55' || substr(hash, 2) AS BLOB) FROM blocks WHERE id = ?"},
		},
		table: []string{"SELECT count(*), sum(len), sum(length(hash)) FROM (SELECT len, hash FROM blocks NOT INDEXED LIMIT ?)"},
		counts: []string{
			"SELECT count(*) FROM blocks NOT INDEXED LIMIT ?",
			"SELECT count(*) FROM blocks LIMIT ?", // SQLite uses the smallest index
		},
		scans: []string{
			"SELECT count(*), sum(len), sum(length(hash)) FROM (SELECT len, hash FROM blocks NOT INDEXED LIMIT ?)",
			"SELECT count(*), sum(length(hash)) FROM (SELECT hash FROM blocks INDEXED BY blocks_hash WHERE hash >= x'' ORDER BY hash LIMIT ?)",
		},
	}
}

const extentBlocks = 256

// fillBlocks writes the disk in extents. It writes the first three fifths in
// order, like an installation, and the rest at random.
func fillBlocks(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error {
	stmt, err := tx.PrepareContext(ctx, "INSERT INTO blocks VALUES (?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer stmt.Close()
	extents := make([]int, (rows+extentBlocks-1)/extentBlocks)
	for i := range extents {
		extents[i] = i
	}
	late := extents[len(extents)*3/5:]
	rng.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })

	var at packPosition
	for _, extent := range extents {
		for id := extent*extentBlocks + 1; id <= min((extent+1)*extentBlocks, rows); id++ {
			pack, offset, n := at.next(rng)
			if _, err := stmt.ExecContext(ctx, id, randomHash(rng), pack, offset, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func overwriteBlocks(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error {
	at := packPosition{pack: 1_000_000 + rng.IntN(1_000_000)}
	id := 1 + rng.IntN(rows-1)
	for range 2 {
		pack, offset, n := at.next(rng)
		const update = "UPDATE blocks SET hash = ?, pack = ?, offset = ?, len = ? WHERE id = ?"
		if _, err := tx.ExecContext(ctx, update, randomHash(rng), pack, offset, n, id); err != nil {
			return err
		}
		id++
	}
	return nil
}

// packPosition is the end of the newest pack. A pack is an object of about 16
// MiB of compressed blocks.
type packPosition struct{ pack, offset int }

func (p *packPosition) next(rng *rand.Rand) (pack, offset, n int) {
	n = 4096 + rng.IntN(61440)
	if p.offset+n > 16<<20 {
		p.pack++
		p.offset = 0
	}
	pack, offset = p.pack, p.offset
	p.offset += n
	return pack, offset, n
}

func randomHash(rng *rand.Rand) []byte {
	hash := make([]byte, 0, 32)
	for range 4 {
		hash = binary.LittleEndian.AppendUint64(hash, rng.Uint64())
	}
	return hash
}
