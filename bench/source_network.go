package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"

	"github.com/ltxvfs/litestream/internal/network"
)

// networkSource is people, what they write and how they are tied: package
// network. Its rows are people.
func networkSource(name string, people int) *source {
	return &source{
		name: name, pageSize: 4096, rows: people, seed: 4,
		fill: func(ctx context.Context, tx *sql.Tx, people int, _ *rand.Rand) error {
			for _, stmt := range network.Statements(people) {
				if _, err := tx.ExecContext(ctx, stmt); err != nil {
					return err
				}
			}
			return nil
		},
		change: func(ctx context.Context, tx *sql.Tx, people int, rng *rand.Rand) error {
			_, err := tx.ExecContext(ctx, "UPDATE people SET city = 'city ' || ? WHERE id = ?", rng.IntN(100), 1+rng.IntN(people))
			return err
		},
		first: "SELECT id, name FROM people LIMIT 1",
		lookups: []lookup{
			{byPrimaryKey, "SELECT title, body FROM notes WHERE id = ?",
				fmt.Sprintf("SELECT id * %d FROM people WHERE id = ?", network.NotesPerPerson)},
		},
	}
}
