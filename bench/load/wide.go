//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/file"
)

const (
	columns   = 2000  // SQLite's limit by default
	variables = 32766 // the same
)

// runWide runs what is as large as SQLite has it: many tables, a table with many
// columns, statements with many values, and a row of nearly a gigabyte.
func runWide(ctx context.Context, c *config) (all []*report, err error) {
	dir, remove, err := c.folder()
	if err != nil {
		return nil, err
	}
	defer remove()
	for _, part := range []struct {
		title string
		run   func(*wide, context.Context) error
	}{
		{fmt.Sprintf("wide: %d tables, %s a request", c.tables, c.latency), (*wide).manyTables},
		{fmt.Sprintf("wide: a table of %d columns and statements of %d values, %s a request", columns, variables, c.latency), (*wide).manyColumns},
		{fmt.Sprintf("wide: a row of %s, %s a request", shown(float64(c.row)/(1<<20), "MiB"), c.latency), (*wide).largeRow},
	} {
		w := &wide{config: c, report: &report{Title: part.title}, client: file.NewReplicaClient(filepath.Join(dir, fmt.Sprint(len(all))))}
		c.logf("%s", part.title)
		all = append(all, w.report)
		if err := part.run(w, ctx); err != nil {
			return all, fmt.Errorf("%s: %w", part.title, err)
		}
	}
	return all, nil
}

type wide struct {
	*config
	*report
	client litestream.ReplicaClient
}

// with opens the database with a meter. It has one connection.
func (w *wide) with(opts *litestream.Options, fn func(m *meter, db *sql.DB) error) error {
	m := newMeter(w.report, w.client, w.latency)
	opts.PollInterval, opts.WriteSyncInterval, opts.CompactionDisabled = -1, -1, true
	db, closeAll, err := open(m.trace, "wide", opts)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	return errors.Join(fn(m, db), closeAll())
}

// upload is a step that uploads what is committed.
func upload(ctx context.Context, m *meter, db *sql.DB) error {
	return m.step("sync", func() error {
		_, err := db.ExecContext(ctx, "PRAGMA litestream_sync")
		return err
	})
}

func (w *wide) manyTables(ctx context.Context) error {
	if err := w.with(&litestream.Options{WriteEnabled: true}, func(m *meter, db *sql.DB) error {
		if err := m.step("make the tables in one transaction", func() error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			for i := range w.tables {
				if _, err := tx.ExecContext(ctx, fmt.Sprintf("CREATE TABLE t%d (id INTEGER PRIMARY KEY, name TEXT NOT NULL, n INTEGER); INSERT INTO t%[1]d VALUES (1, 'one', %[1]d)", i)); err != nil {
					return err
				}
			}
			return tx.Commit()
		}); err != nil {
			return err
		}
		return upload(ctx, m, db)
	}); err != nil {
		return err
	}
	return w.with(&litestream.Options{}, func(m *meter, db *sql.DB) error {
		if err := m.step("open to the first row", func() error { return readTable(ctx, db, 0) }); err != nil {
			return err
		}
		rng := rand.New(rand.NewPCG(1, 1))
		const few = 500
		if err := m.step(fmt.Sprintf("a row of each of %d tables at random", few), func() error {
			for range few {
				if err := readTable(ctx, db, rng.IntN(w.tables)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		return m.step("a row of each table", func() error {
			for i := range w.tables {
				if err := readTable(ctx, db, i); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func readTable(ctx context.Context, db *sql.DB, i int) error {
	var n int
	if err := db.QueryRowContext(ctx, fmt.Sprintf("SELECT n FROM t%d", i)).Scan(&n); err != nil {
		return err
	}
	if n != i {
		return fmt.Errorf("table %d has %d", i, n)
	}
	return nil
}

func (w *wide) manyColumns(ctx context.Context) error {
	const rows = variables / columns
	names := make([]string, columns)
	values := make([]any, 0, rows*columns)
	for i := range names {
		names[i] = fmt.Sprintf("column_%d", i)
	}
	for i := range rows * columns {
		values = append(values, i)
	}
	row := "(" + strings.Repeat("?,", columns-1) + "?)"
	insert := "INSERT INTO wide VALUES " + strings.Repeat(row+",", rows-1) + row
	const keys = 200000
	if err := w.with(&litestream.Options{WriteEnabled: true}, func(m *meter, db *sql.DB) error {
		if err := m.step(fmt.Sprintf("insert %d rows of %d columns with one statement", rows, columns), func() error {
			_, err := db.ExecContext(ctx, "CREATE TABLE wide ("+strings.Join(names, ",")+")")
			if err == nil {
				_, err = db.ExecContext(ctx, insert, values...)
			}
			return err
		}); err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, fmt.Sprintf("CREATE TABLE k (id INTEGER PRIMARY KEY, n INTEGER, body TEXT);"+
			"WITH RECURSIVE c(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM c WHERE id < %d) INSERT INTO k SELECT id, id, hex(randomblob(100)) FROM c", keys-1)); err != nil {
			return err
		}
		return upload(ctx, m, db)
	}); err != nil {
		return err
	}
	return w.with(&litestream.Options{}, func(m *meter, db *sql.DB) error {
		if err := m.step("open, and read all columns by their names", func() error {
			var parts [4]int // SQLite has expressions of at most 1,000 terms
			var sums []string
			for part := range slices.Chunk(names, columns/len(parts)) {
				sums = append(sums, "sum("+strings.Join(part, "+")+")")
			}
			if err := db.QueryRowContext(ctx, "SELECT "+strings.Join(sums, ",")+" FROM wide").Scan(&parts[0], &parts[1], &parts[2], &parts[3]); err != nil {
				return err
			}
			sum := parts[0] + parts[1] + parts[2] + parts[3]
			if n := rows * columns; sum != n*(n-1)/2 {
				return fmt.Errorf("the sum is %d, want %d", sum, n*(n-1)/2)
			}
			return nil
		}); err != nil {
			return err
		}
		rng := rand.New(rand.NewPCG(2, 2))
		list, want := make([]any, variables), 0
		for i, key := range rng.Perm(keys)[:variables] {
			list[i] = key
			want += key
		}
		return m.step(fmt.Sprintf("rows by an IN of %d values", variables), func() error {
			var sum int
			if err := db.QueryRowContext(ctx, "SELECT sum(n + length(body) - 200) FROM k WHERE id IN ("+strings.Repeat("?,", variables-1)+"?)", list...).Scan(&sum); err != nil {
				return err
			}
			if sum != want {
				return fmt.Errorf("the sum is %d, want %d", sum, want)
			}
			return nil
		})
	})
}

// largeRow writes and reads a row. SQLite itself has it in memory, twice while a
// function makes it.
func (w *wide) largeRow(ctx context.Context) error {
	const parts = 5 // places that are compared
	read := func(db *sql.DB) (text string, err error) {
		var columns []string
		for i := range parts {
			columns = append(columns, fmt.Sprintf("hex(substr(body, %d, 16))", 1+int64(i)*int64(w.row-16)/(parts-1)))
		}
		return text, db.QueryRowContext(ctx, "SELECT "+strings.Join(columns, "||")+" FROM large").Scan(&text)
	}
	var want string
	if err := w.with(&litestream.Options{WriteEnabled: true}, func(m *meter, db *sql.DB) error {
		err := m.step("write the row", func() error {
			_, err := db.ExecContext(ctx, "CREATE TABLE large (id INTEGER PRIMARY KEY, body BLOB)")
			if err == nil {
				_, err = db.ExecContext(ctx, "INSERT INTO large VALUES (1, randomblob(?))", w.row)
			}
			return err
		})
		if err == nil {
			err = upload(ctx, m, db)
		}
		if err == nil {
			want, err = read(db)
		}
		return err
	}); err != nil {
		return err
	}
	return w.with(&litestream.Options{}, func(m *meter, db *sql.DB) error {
		if err := m.step("open, and read the length of the row", func() error {
			var n int
			if err := db.QueryRowContext(ctx, "SELECT length(body) FROM large").Scan(&n); err != nil {
				return err
			}
			if n != w.row {
				return fmt.Errorf("the row has %d bytes, want %d", n, w.row)
			}
			return nil
		}); err != nil {
			return err
		}
		start := time.Now()
		if err := m.step("read the row", func() error {
			got, err := read(db)
			if err == nil && got != want {
				err = fmt.Errorf("the row has %s, want %s", got, want)
			}
			return err
		}); err != nil {
			return err
		}
		w.add("read the row: rate", float64(w.row)/1e6/time.Since(start).Seconds(), "MB/s")
		return nil
	})
}
