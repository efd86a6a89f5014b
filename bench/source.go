package main

import (
	"context"
	"database/sql"
	"math/rand/v2"
)

// source is a kind of database: how it is made, and what is asked of it.
type source struct {
	name     string
	pageSize int
	rows     int // with ids from 1 on
	seed     uint64

	schema []string
	fill   func(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error

	// change is a later transaction, which becomes a file of level 0.
	change func(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error

	first   string // gives one row
	lookups []lookup
	ranges  []rangeScan
	table   []string // scan of the table; ? is the most rows to look at, -1: all
	scans   []string // of all tables and indexes, likewise
	counts  []string // that read leaf pages, and hardly look at them; ? is -1
}

// lookup is a query for a single row.
type lookup struct {
	name  string
	query string
	key   string // query for the key of the row with some id
}

// rangeScan is a query for many rows that begins at a key.
type rangeScan struct {
	name  string
	query string // of a key and a number of rows
	key   string
}

func (s *source) lookup(name string) lookup {
	for _, l := range s.lookups {
		if l.name == name {
			return l
		}
	}
	panic("no lookup " + name)
}
