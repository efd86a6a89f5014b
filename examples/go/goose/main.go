// Command goose is a to-do list on object storage, whose schema goose migrates.
// Package todocli has the commands.
package main

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"os"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/examples/go/todocli"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var embedded embed.FS

func main() { os.Exit(todocli.Run(open())) }

func open() (list todocli.List, err error) {
	ctx := context.Background()
	db, err := litestream.Open(todocli.URL(), &litestream.Options{WriteEnabled: todocli.IsWriter()})
	if err != nil {
		return list, err
	}
	migrations, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return list, errors.Join(err, db.Close())
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations)
	if err != nil {
		return list, errors.Join(err, db.Close())
	}

	list.Titles = func() (titles []string, err error) {
		rows, err := db.QueryContext(ctx, "SELECT title FROM todos ORDER BY id")
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var title string
			if err := rows.Scan(&title); err != nil {
				return nil, err
			}
			titles = append(titles, title)
		}
		return titles, rows.Err()
	}
	list.Add = func(title string) (txid string, err error) {
		if _, err := provider.Up(ctx); err != nil {
			return "", err
		}
		if _, err := db.ExecContext(ctx, "INSERT INTO todos (title) VALUES (?)", title); err != nil {
			return "", err
		}
		err = db.QueryRowContext(ctx, "SELECT litestream_sync()").Scan(&txid)
		return txid, err
	}
	list.Wait = func(txid string) error {
		var newest string
		return db.QueryRowContext(ctx, "SELECT litestream_wait(?, 10)", txid).Scan(&newest)
	}
	list.Close = db.Close
	return list, nil
}
