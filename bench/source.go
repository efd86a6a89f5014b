package main

import (
	"context"
	"database/sql"
	"math/rand/v2"
)

// source is a kind of database: how it is created and which queries run on it.
type source struct {
	name     string
	pageSize int
	rows     int // the ids start at 1
	seed     uint64

	schema []string
	fill   func(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error

	// change runs a later transaction, which becomes a file of level 0.
	change func(ctx context.Context, tx *sql.Tx, rows int, rng *rand.Rand) error

	first     string // query that returns one row
	lookups   []lookup
	ranges    []rangeScan
	table     []string // scan of the table; ? is the maximum number of rows, -1 for all
	rowsQuery string   // scan of the table, without an end
	scans     []string // scans of all tables and indexes, with the same parameter
	counts    []string // queries that read leaf pages and hardly examine them; ? is -1
}

// lookup is a query for a single row.
type lookup struct {
	name  string
	query string
	key   string // query for the key of the row with a given id
}

// rangeScan is a query for many rows that starts at a key.
type rangeScan struct {
	name  string
	query string // its parameters are a key and a number of rows
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
