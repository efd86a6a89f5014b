package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
)

const schema = `
CREATE TABLE IF NOT EXISTS files (
	id   INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE,
	size INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS chunks (
	file   INTEGER NOT NULL REFERENCES files (id),
	idx    INTEGER NOT NULL,
	object TEXT NOT NULL,
	offset INTEGER NOT NULL,
	length INTEGER NOT NULL,
	PRIMARY KEY (file, idx)
) WITHOUT ROWID;
`

// fileInfo describes a file, which consists of the bytes of its chunks in
// order.
type fileInfo struct {
	Name   string  `json:"name"`
	Size   int64   `json:"size"`
	Chunks []chunk `json:"chunks"`
}

// chunk is a part of an object.
type chunk struct {
	Object string `json:"object"`
	Offset int64  `json:"offset"` // offset in the object
	Length int64  `json:"length"`
}

// errNoFile means that no file has the given name.
var errNoFile = errors.New("no such file")

// store stores the files. It is safe for concurrent use.
type store struct {
	// SQLite has one writer at a time. With a single connection for writes,
	// writers wait in order, and as long as their contexts allow. The
	// connection also keeps the database open.
	writer *sql.DB
	reader *sql.DB
}

// openStore opens a database, and creates it if it does not exist.
func openStore(ctx context.Context, vfs, name string) (*store, error) {
	base := "file:" + url.PathEscape(name) + "?vfs=" + url.QueryEscape(vfs)
	writer, err := sql.Open("sqlite3", base+"&_txlock=immediate&_busy_timeout=5000&_foreign_keys=1")
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	if _, err := writer.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("create tables: %w", err), writer.Close())
	}
	reader, err := sql.Open("sqlite3", base+"&mode=ro")
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	reader.SetMaxOpenConns(8)
	reader.SetMaxIdleConns(8)
	return &store{writer, reader}, nil
}

func (s *store) close() error { return errors.Join(s.reader.Close(), s.writer.Close()) }

// get returns a file. Its two queries run in one transaction and therefore read
// the same state.
func (s *store) get(ctx context.Context, name string) (f fileInfo, err error) {
	tx, err := s.reader.BeginTx(ctx, nil)
	if err != nil {
		return f, err
	}
	defer tx.Rollback() // a read-only transaction has nothing to roll back
	var id int64
	f = fileInfo{Name: name, Chunks: []chunk{}}
	err = tx.QueryRowContext(ctx, "SELECT id, size FROM files WHERE name = ?", name).Scan(&id, &f.Size)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoFile
	}
	if err != nil {
		return f, fmt.Errorf("get %q: %w", name, err)
	}
	rows, err := tx.QueryContext(ctx, "SELECT object, offset, length FROM chunks WHERE file = ? ORDER BY idx", id)
	if err != nil {
		return f, fmt.Errorf("get chunks of %q: %w", name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var c chunk
		if err := rows.Scan(&c.Object, &c.Offset, &c.Length); err != nil {
			return f, fmt.Errorf("get chunks of %q: %w", name, err)
		}
		f.Chunks = append(f.Chunks, c)
	}
	return f, rows.Err()
}

// put creates or replaces a file. When it returns, the commit is in the write
// buffer.
func (s *store) put(ctx context.Context, f fileInfo) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("put %q: %w", f.Name, err)
		}
	}()
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	var id int64
	err = tx.QueryRowContext(ctx, `INSERT INTO files (name, size) VALUES (?, ?)
		ON CONFLICT (name) DO UPDATE SET size = excluded.size RETURNING id`, f.Name, f.Size).Scan(&id)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM chunks WHERE file = ?", id); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, "INSERT INTO chunks (file, idx, object, offset, length) VALUES (?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for i, c := range f.Chunks {
		if _, err := insert.ExecContext(ctx, id, i, c.Object, c.Offset, c.Length); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// health is the response of /healthz.
type health struct {
	TXID     string `json:"txid"`  // newest transaction on the replica
	Pages    int64  `json:"pages"` // size of the database with all commits
	Writable bool   `json:"writable"`
	Unsynced int64  `json:"unsynced_bytes"` // bytes of commits that are not on the replica yet
	Error    string `json:"error"`          // error of the last sync, which is retried while the database is writable
}

func (s *store) health(ctx context.Context) (h health, err error) {
	var text string
	if err := s.reader.QueryRowContext(ctx, "PRAGMA litestream_status").Scan(&text); err != nil {
		return h, fmt.Errorf("get status: %w", err)
	}
	var status struct {
		TXID  string `json:"txid"`
		Pages int64  `json:"pages"`
		Write struct {
			Enabled  bool   `json:"enabled"`
			Unsynced int64  `json:"unsynced"`
			Error    string `json:"error"`
		} `json:"write"`
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return h, fmt.Errorf("parse status: %w", err)
	}
	return health{status.TXID, status.Pages, status.Write.Enabled, status.Write.Unsynced, status.Write.Error}, nil
}
