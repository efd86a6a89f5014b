package main

import (
	"context"
	"database/sql"
	"math/rand/v2"
)

// pointsSource is a database with any number of pages that is cheap to create.
// Its pages are small and hold one row of zeros each.
func pointsSource(pages int) *source {
	const rowsPerHundredPages = 97 // the other pages are interior pages
	return &source{
		name: "points", pageSize: 512, rows: pages * rowsPerHundredPages / 100, seed: 3,
		schema: []string{"CREATE TABLE points (id INTEGER PRIMARY KEY, pad BLOB)"},
		fill: func(ctx context.Context, tx *sql.Tx, rows int, _ *rand.Rand) error {
			_, err := tx.ExecContext(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
				INSERT INTO points SELECT i, zeroblob(420) FROM n`, rows)
			return err
		},
		first:   "SELECT id FROM points LIMIT 1",
		lookups: []lookup{{byPrimaryKey, "SELECT id FROM points WHERE id = ?", "SELECT id FROM points WHERE id = ?"}},
		scans:   []string{"SELECT count(*), sum(length(pad)) FROM (SELECT pad FROM points LIMIT ?)"},
	}
}
