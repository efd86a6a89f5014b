//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/cvfs"
	"github.com/ltxvfs/litestream/internal/cvfs/linked"
	"github.com/ltxvfs/litestream/internal/openfiles"
)

// RegisterVFS makes a VFS known to the SQLite that mattn/go-sqlite3 brings, for
// connections with vfs=name in their URI:
//
//	litestream.RegisterVFS("litestream", litestream.NewVFS(client))
//	db, err := sql.Open("sqlite3", "file:app.db?vfs=litestream")
//
// Connections have the SQL functions of package litestream, their queries end when
// their context does, and local files that they attach are SQLite's own.
//
// A name stays registered until the process ends, and its VFS, too. If the VFS was
// closed, another one can take the name. Otherwise a name that SQLite knows already
// is an error. RegisterVFS is safe for concurrent use.
func RegisterVFS(name string, vfs *VFS) error {
	registered.Lock()
	defer registered.Unlock()
	current := registered.vfss[name]
	switch {
	case vfs == nil:
		return fmt.Errorf("register VFS %q: there is no VFS", name)
	case current != nil && current.Load() == vfs:
		return nil
	case current != nil && current.Load().names.isClosed():
		current.Store(vfs)
		return nil
	}
	current = new(atomic.Pointer[VFS])
	current.Store(vfs)
	if err := registerVFS(name, current.Load); err != nil {
		return fmt.Errorf("register VFS %q: %w", name, err)
	}
	registered.vfss[name] = current
	return nil
}

// registered are the VFSs of RegisterVFS, by name. It is locked before the locks of
// package cvfs and of the names of a VFS.
var registered = struct {
	sync.Mutex
	vfss map[string]*atomic.Pointer[VFS]
}{vfss: make(map[string]*atomic.Pointer[VFS])}

// registerVFS registers a name. What vfs returns serves it.
func registerVFS(name string, vfs func() *VFS) error {
	if name == "" || strings.ContainsRune(name, 0) {
		return errors.New("it is not a name that SQLite can have")
	}
	return cvfs.Register(linked.Routines(), name, &cEngine{vfs: vfs})
}

// cEngine serves a VFS to package cvfs.
type cEngine struct {
	vfs   func() *VFS
	names openfiles.Names
}

var _ cvfs.Engine = (*cEngine)(nil)

func (e *cEngine) Open(n cvfs.Name) (cvfs.Conn, error) {
	c, err := e.open(n)
	switch {
	case errors.Is(err, ErrLocalFile):
		return nil, cvfs.ErrLocalFile
	case err != nil:
		e.Log().Error("open failed", "error", err)
		return nil, err
	}
	return c, nil
}

func (e *cEngine) open(n cvfs.Name) (cvfs.Conn, error) {
	c, err := e.vfs().OpenConn(cleanName(n.Given), n.Params, OpenMode{ReadOnly: n.ReadOnly, Create: n.Create, SharedCache: n.SharedCache})
	if errors.Is(err, ErrLocalFile) {
		if err := e.names.AddLocal(n.Path); err != nil {
			return nil, fmt.Errorf("open %s: %w", n.Given, err)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := e.names.AddReplica(n.Path); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("open %s: %w", n.Given, err)
	}
	return &cConn{c, func() { e.names.RemoveReplica(n.Path) }}, nil
}

func (e *cEngine) NotOpened(path string)        { e.names.RemoveLocal(path) }
func (e *cEngine) IsCompanion(path string) bool { return e.names.IsCompanion(path) }
func (e *cEngine) CodeOf(err error) int         { return int(CodeOf(err)) }
func (e *cEngine) CodeOfCommit(err error) int   { return int(CodeOfCommit(err)) }
func (e *cEngine) Log() *slog.Logger            { return e.vfs().options().withDefaults().Logger }

// cConn is a connection's main file whose name its engine knows.
type cConn struct {
	*Conn
	closed func()
}

func (c *cConn) Changes(table, from, to *string) (cvfs.Rows, error) {
	return c.Conn.Changes(table, from, to)
}

func (c *cConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}
