//go:build linux

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	_ "github.com/mattn/go-sqlite3" // the driver sqlite3

	"github.com/ltxvfs/litestream"
)

var vfses atomic.Int64 // number of VFSes that are registered

// register registers a VFS under a name that no other has.
func register(vfs *litestream.VFS) (name string, err error) {
	name = fmt.Sprintf("load-%d", vfses.Add(1))
	return name, litestream.RegisterVFS(name, vfs)
}

// open opens a database. The function that it returns closes the database and its VFS.
func open(client litestream.ReplicaClient, name string, opts *litestream.Options) (db *sql.DB, closeAll func() error, err error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	vfs := litestream.NewVFS(client, opts)
	registered, err := register(vfs)
	if err != nil {
		return nil, nil, err
	}
	if db, err = sql.Open("sqlite3", "file:"+name+"?vfs="+registered+"&_busy_timeout=60000"); err != nil {
		return nil, nil, err
	}
	return db, func() error { return errors.Join(db.Close(), vfs.Close(context.Background())) }, nil
}

func closeInto(c io.Closer, err *error) { *err = errors.Join(*err, c.Close()) }
