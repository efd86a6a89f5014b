//go:build linux

// Command worker answers queries of the command above it, from a database in place and
// from a file. Built with cgo it reads by mattn/go-sqlite3, and without by
// ncruces/go-sqlite3. worker.py and worker.js do the same.
package main

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/ltxvfs/litestream"
	_ "github.com/ltxvfs/litestream/s3"
)

// request is a query, which is run for each key.
type request struct {
	Plain bool // of the file
	SQL   string
	Keys  []int64
}

// reply has the sum of the first columns, the text of the last one, and how long the
// queries took.
type reply struct {
	Sum     int64   `json:"sum"`
	Text    string  `json:"text"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func run() error {
	plain, err := sql.Open("sqlite3", "file:"+os.Getenv("WORKER_PLAIN"))
	if err != nil {
		return err
	}
	poll, err := time.ParseDuration(os.Getenv("WORKER_POLL"))
	if err != nil {
		return err
	}
	place, err := open(os.Getenv("WORKER_URL"), &litestream.Options{
		HydrationEnabled: true, HydrationPath: os.Getenv("WORKER_PATH"), PollInterval: poll,
	})
	if err != nil {
		return err
	}
	plain.SetMaxOpenConns(1)
	place.SetMaxOpenConns(1)
	fmt.Println("{}") // it runs
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			return err
		}
		db := place
		if r.Plain {
			db = plain
		}
		out, err := json.Marshal(ask(db, r))
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", out)
	}
	return in.Err()
}

func ask(db *sql.DB, r request) (a reply) {
	stmt, err := db.Prepare(r.SQL)
	if err != nil {
		return reply{Error: err.Error()}
	}
	defer stmt.Close()
	keys := [][]any{nil}
	if len(r.Keys) > 0 {
		keys = keys[:0]
		for _, key := range r.Keys {
			keys = append(keys, []any{key})
		}
	}
	start := time.Now()
	for _, key := range keys {
		var value any
		if err := stmt.QueryRow(key...).Scan(&value); err != nil {
			return reply{Error: err.Error()}
		}
		switch v := value.(type) {
		case int64:
			a.Sum += v
		case string:
			a.Text = v
		case []byte:
			a.Text = string(v)
		}
	}
	a.Seconds = time.Since(start).Seconds()
	return a
}
