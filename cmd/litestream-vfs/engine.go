//go:build SQLITE3VFS_LOADABLE_EXT

package main

/*
#include <stdlib.h>
#include "extension.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/cvfs"
	"github.com/ltxvfs/litestream/internal/extension"
	"github.com/ltxvfs/litestream/internal/openfiles"
)

// engine serves the VFS of the extension. The router and the environment say where
// the replica of a name is.
type engine struct{}

var _ cvfs.Engine = engine{}

// warned is set after the warning of a local file that may have been meant to be the
// replica of the environment.
var warned atomic.Bool

func (engine) Open(n cvfs.Name) (c cvfs.Conn, err error) {
	shown := openfiles.Shown(n.Path)
	opened := false // OpenConn was called, whose errors have the name
	defer func() {
		if err != nil && !errors.Is(err, cvfs.ErrLocalFile) {
			if !opened {
				err = fmt.Errorf("open %s: %w", shown, err)
			}
			logger.Error("open failed", "db", shown, "error", err)
		}
	}()
	exists := func() bool {
		_, err := os.Lstat(n.Path)
		return !errors.Is(err, fs.ErrNotExist)
	}
	env := environment()
	url, local, err := router.Open(extension.Name{
		Path:    n.Path,
		Params:  n.Params,
		Named:   n.Params["vfs"] != "",
		Default: n.Default,
		Exists:  exists,
	}, env)
	if err != nil {
		return nil, err
	}
	if local {
		switch {
		case n.Create && !exists():
			logger.Warn("a new local file is made, since the name is not that of a replica", "file", shown, "replica", openfiles.Shown(router.Bound()))
		case env[extension.ReplicaURL] != "" && router.Bound() == "" && !warned.Swap(true):
			logger.Warn("an existing local file is opened, and no name is the replica of "+extension.ReplicaURL+" yet", "file", shown)
		default:
			logger.Debug("opened as a local file", "file", shown)
		}
		return nil, cvfs.ErrLocalFile
	}
	defer func() {
		if err != nil {
			router.Close(n.Path)
		}
	}()
	bound := C.CString(router.Bound())
	C.ls_set_bound(bound)
	C.free(unsafe.Pointer(bound))
	if err := logs.Configure(env); err != nil {
		return nil, err
	}
	params, err := env.Params(n.Params)
	if err != nil {
		return nil, err
	}
	if url != "" {
		params["replica_url"] = url
	}
	opened = true
	// There is always a URL, which tells databases apart, and the name is for texts.
	conn, err := vfs.OpenConn(shown, params, litestream.OpenMode{ReadOnly: n.ReadOnly, Create: n.Create, SharedCache: n.SharedCache})
	if err != nil {
		return nil, err
	}
	return &connection{conn, n.Path}, nil
}

func (engine) NotOpened(path string)        { router.NotOpened(path) }
func (engine) IsCompanion(path string) bool { return router.Companion(path) }
func (engine) CodeOfCommit(err error) int   { return int(litestream.CodeOfCommit(err)) }
func (engine) Log() *slog.Logger            { return logger }

func (engine) CodeOf(err error) int {
	if errors.Is(err, errNotAllowed) {
		return int(litestream.CodeError)
	}
	return int(litestream.CodeOf(err))
}

// errNotAllowed means that LITESTREAM_URI_PARAMETERS does not allow a change.
var errNotAllowed = errors.New("not allowed")

// notAllowed is errNotAllowed with the text of another error.
type notAllowed struct{ error }

func (notAllowed) Is(target error) bool { return target == errNotAllowed }

// connection is the main file of a connection whose name the router knows.
type connection struct {
	*litestream.Conn
	path string
}

// Pragma refuses to set an option that the environment does not allow to set.
func (c *connection) Pragma(name string, value *string) (*string, error) {
	if value != nil {
		if parameter, ok := extension.ParameterOf(name); ok {
			if err := environment().Allow(map[string]string{parameter: *value}); err != nil {
				return nil, notAllowed{err}
			}
		}
	}
	return c.Conn.Pragma(name, value)
}

func (c *connection) Changes(table, from, to *string) (cvfs.Rows, error) {
	return c.Conn.Changes(table, from, to)
}

func (c *connection) Close() error {
	defer router.Close(c.path)
	return c.Conn.Close()
}
