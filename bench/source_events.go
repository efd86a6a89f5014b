package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
)

const byPrimaryKey = "primary key"

// eventsSource is a log of user events. Rows are nearly in the order of their
// time, and the rows of one user are scattered.
func eventsSource(name string, rows int) *source {
	return &source{
		name: name, pageSize: 4096, rows: rows, seed: 2,
		schema: []string{
			`CREATE TABLE events (
				id INTEGER PRIMARY KEY,
				ts INTEGER NOT NULL,
				user INTEGER NOT NULL,
				kind TEXT NOT NULL,
				body TEXT NOT NULL)`,
			`CREATE INDEX events_user ON events (user)`,
			`CREATE INDEX events_ts ON events (ts)`,
		},
		fill: func(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error {
			return insertEvents(ctx, tx, 1, rows, rows, rng)
		},
		change: func(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error {
			var last int
			if err := tx.QueryRowContext(ctx, "SELECT max(id) FROM events").Scan(&last); err != nil {
				return err
			}
			return insertEvents(ctx, tx, last+1, 5, rows, rng)
		},
		first: "SELECT id, body FROM events LIMIT 1",
		lookups: []lookup{
			{byPrimaryKey, "SELECT ts, body FROM events WHERE id = ?", "SELECT id FROM events WHERE id = ?"},
			{"user index", "SELECT id, body FROM events WHERE user = ? LIMIT 1", "SELECT user FROM events WHERE id = ?"},
		},
		ranges: []rangeScan{
			{"time index", `SELECT count(*), sum(length(body)) FROM
				(SELECT body FROM events INDEXED BY events_ts WHERE ts >= ? ORDER BY ts LIMIT ?)`, "SELECT ts FROM events WHERE id = ?"},
			{"user index", `SELECT count(*), sum(length(body)) FROM
				(SELECT body FROM events INDEXED BY events_user WHERE user >= ? ORDER BY user LIMIT ?)`, "SELECT user FROM events WHERE id = ?"},
		},
		table:     []string{"SELECT count(*), sum(length(body)) FROM (SELECT body FROM events NOT INDEXED LIMIT ?)"},
		rowsQuery: "SELECT body FROM events NOT INDEXED",
		counts: []string{
			"SELECT count(*) FROM events NOT INDEXED LIMIT ?",
			"SELECT count(*) FROM events LIMIT ?", // SQLite uses the smallest index
		},
		scans: []string{
			"SELECT count(*), sum(length(body)) FROM (SELECT body FROM events NOT INDEXED LIMIT ?)",
			"SELECT count(*), sum(user) FROM (SELECT user FROM events INDEXED BY events_user WHERE user >= 0 ORDER BY user LIMIT ?)",
			"SELECT count(*), total(ts) FROM (SELECT ts FROM events INDEXED BY events_ts WHERE ts >= 0 ORDER BY ts LIMIT ?)",
		},
	}
}

const (
	firstEventTime = 1_767_323_045_000 // in milliseconds
	eventInterval  = 50
	eventJitter    = 5_000
	eventsPerUser  = 12
)

func insertEvents(ctx context.Context, tx *sql.Tx, first, n, rows int, rng *rand.Rand) error {
	stmt, err := tx.PrepareContext(ctx, "INSERT INTO events VALUES (?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer stmt.Close()
	kinds := []string{"view", "view", "view", "click", "search", "login", "purchase"}
	users := max(rows/eventsPerUser, 1)
	for id := first; id < first+n; id++ {
		ts := firstEventTime + id*eventInterval + rng.IntN(eventJitter)
		if _, err := stmt.ExecContext(ctx, id, ts, 1+rng.IntN(users), kinds[rng.IntN(len(kinds))], eventBody(rng)); err != nil {
			return err
		}
	}
	return nil
}

var bodyWords = strings.Fields(`account address basket battery blue bottle camera canvas charge cotton delivery
	desk discount engine express filter folder garden glass green guitar hammer helmet invoice jacket kitchen ladder
	lamp leather marble metal mirror monitor notebook office orange paper pencil picture pillow printer purple return
	saddle silver speaker steel summer table ticket travel umbrella velvet violin wallet window winter wooden yellow`)

// eventBody returns JSON with words and numbers. It compresses about as well as
// real data.
func eventBody(rng *rand.Rand) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"session":"%016x","path":"/shop/%s/%s-%d","agent":"Mozilla/5.0 (X11; Linux x86_64) v%d.%d","text":"`,
		rng.Uint64(), bodyWords[rng.IntN(len(bodyWords))], bodyWords[rng.IntN(len(bodyWords))], rng.IntN(100_000), 90+rng.IntN(40), rng.IntN(9000))
	for range 8 + rng.IntN(24) {
		b.WriteString(bodyWords[rng.IntN(len(bodyWords))])
		b.WriteByte(' ')
	}
	b.WriteString(`"}`)
	return b.String()
}
