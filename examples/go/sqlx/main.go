// Command sqlx is a to-do list on object storage, with sqlx. Package todocli has the
// commands.
package main

import (
	"os"

	"github.com/jmoiron/sqlx"
	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/examples/go/todocli"
)

func main() { os.Exit(todocli.Run(open())) }

func open() (list todocli.List, err error) {
	conn, err := litestream.Open(todocli.URL(), &litestream.Options{WriteEnabled: todocli.IsWriter()})
	if err != nil {
		return list, err
	}
	db := sqlx.NewDb(conn, "sqlite3")

	list.Titles = func() (titles []string, err error) {
		err = db.Select(&titles, "SELECT title FROM todos ORDER BY id")
		return titles, err
	}
	list.Add = func(title string) (txid string, err error) {
		if _, err := db.Exec("CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY, title TEXT NOT NULL)"); err != nil {
			return "", err
		}
		if _, err := db.NamedExec("INSERT INTO todos (title) VALUES (:title)", map[string]any{"title": title}); err != nil {
			return "", err
		}
		err = db.Get(&txid, "SELECT litestream_sync()")
		return txid, err
	}
	list.Wait = func(txid string) error {
		var newest string
		return db.Get(&newest, "SELECT litestream_wait(?, 10)", txid)
	}
	list.Close = db.Close
	return list, nil
}
