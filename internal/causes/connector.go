package causes

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/ltxvfs/litestream"
)

// Connector is a binding in Go whose databases are opened by open, which is
// litestream.Open or ncruces.Open.
func Connector(open func(url string, opts *litestream.Options) (*sql.DB, error)) Binding {
	return Binding{
		Start: func(t testing.TB, env map[string]string) Program {
			for name, value := range env {
				t.(*testing.T).Setenv(name, value)
			}
			return &connectors{open: open, byName: make(map[string]*sql.DB)}
		},
		Sentinels: true,
		Lacks: map[string]string{
			"open with other options": "each connector has a database of its own",
			"SQLite's shared cache":   "a connector has no parameters",
		},
		Placeless: map[string]string{
			"misspelt option":                 ofSet,
			"misspelt write mode":             ofSet,
			"unknown option":                  ofSet,
			"malformed value of an option":    ofSet,
			"value of an option out of range": ofSet,
		},
	}
}

// ofSet is why the error of an option has no place.
const ofSet = "Options.Set fails, before there is a replica"

// connectors are databases that were opened by URL.
type connectors struct {
	open   func(url string, opts *litestream.Options) (*sql.DB, error)
	byName map[string]*sql.DB // by URL and options
}

func (c *connectors) Open(ctx context.Context, url string, options map[string]string) (DB, error) {
	opts := &litestream.Options{Logger: slog.New(slog.DiscardHandler)}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if err := opts.Set(name, options[name]); err != nil {
			return nil, err
		}
	}
	name := fmt.Sprint(url, options)
	db, ok := c.byName[name]
	if !ok {
		var err error
		if db, err = c.open(url, opts); err != nil {
			return nil, err
		}
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		if !ok {
			_ = db.Close()
		}
		return nil, err
	}
	c.byName[name] = db
	return &connection{conn, db}, nil
}

// connection is a connection of a sql.DB.
type connection struct {
	conn *sql.Conn
	db   *sql.DB
}

func (c *connection) Exec(ctx context.Context, statement string) error {
	_, err := c.conn.ExecContext(ctx, statement)
	return err
}

func (c *connection) Query(query string) (value string, err error) {
	err = c.conn.QueryRowContext(context.Background(), query).Scan(&value)
	return value, err
}

func (c *connection) Close() error {
	_ = c.conn.Close()
	return c.db.Close()
}
