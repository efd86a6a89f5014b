//go:build cgo && !SQLITE3VFS_LOADABLE_EXT

package litestream

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/sqlconn"
	"github.com/mattn/go-sqlite3"
)

// Open opens the database of a replica, by a URL such as s3://bucket/path:
//
//	db, err := litestream.Open("s3://bucket/app.db", nil)
//
// It is sql.OpenDB with NewConnector. The store's package must be imported, which
// registers the scheme. Open makes no request: the error of the first query says what
// is wrong with the replica. Closing the sql.DB closes the database, and in write
// mode syncs first. It is safe for concurrent use.
func Open(url string, opts *Options) (*sql.DB, error) {
	c, err := NewConnector(url, opts)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(c), nil
}

// NewConnector returns a connector for sql.OpenDB that opens the database of a
// replica with mattn/go-sqlite3. Neither sql.Register nor RegisterVFS is needed, and
// connections have the SQL functions. Of opts, nil means the defaults.
//
// Errors of connections say where the replica is and what went wrong, without
// secrets. Both are found by errors.Is and errors.As: the cause, such as
// ErrNoDatabase, ErrReadOnly, ErrConflict or fs.ErrPermission, and the driver's
// sqlite3.Error. The driver connection of sql.Conn.Raw has a method Unwrap that
// returns the *sqlite3.SQLiteConn.
//
// A connector has databases of its own: two connectors for one replica share
// nothing. sql.DB.Close closes it. It is safe for concurrent use.
func NewConnector(url string, opts *Options) (driver.Connector, error) {
	c, err := newConnector(url, opts)
	if err != nil {
		return nil, err
	}
	m := &mattnConnector{connector: c}
	c.open = m.openConn
	return m, nil
}

// mattnConnector is a connector for mattn/go-sqlite3.
type mattnConnector struct {
	*connector
	driver sqlite3.SQLiteDriver

	mu struct {
		sync.Mutex
		slot   *vfsSlot // nil before the first connection and after Close
		closed bool
	}
}

// Connect opens a connection. If ctx ends first, it returns the error of ctx.
func (m *mattnConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, own, err := m.connect(ctx)
	if err != nil {
		return nil, err
	}
	return sqlconn.Wrap(conn, &connExplainer{conn: own, shown: m.shown, code: codeOfDriver}), nil
}

// Driver returns the driver of mattn/go-sqlite3.
func (m *mattnConnector) Driver() driver.Driver { return &m.driver }

// Close closes the databases of the connector. sql.DB.Close calls it after the last
// connection was closed.
func (m *mattnConnector) Close() error {
	m.mu.Lock()
	slot := m.mu.slot
	m.mu.slot, m.mu.closed = nil, true
	m.mu.Unlock()
	err := m.vfs.Close(context.Background()) // within CloseTimeout
	if slot != nil {
		slot.release()
	}
	return err
}

// openConn opens a connection of SQLite's.
func (m *mattnConnector) openConn(name, token string) (driver.Conn, error) {
	slot, err := m.slot()
	if err != nil {
		return nil, err
	}
	return m.driver.Open("file:" + escapeURI(name) + "?vfs=" + slot.name + "&" + replicaURL + "=" + escapeURI(m.url) + "&" + connectionParam + "=" + token)
}

func (m *mattnConnector) slot() (*vfsSlot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.closed {
		return nil, ErrClosed
	}
	if m.mu.slot == nil {
		slot, err := takeSlot(m.vfs)
		if err != nil {
			return nil, err
		}
		m.mu.slot = slot
	}
	return m.mu.slot, nil
}

// escapeURI escapes a part of a URI file name of SQLite's.
func escapeURI(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// codeOfDriver returns the extended code of an error of mattn/go-sqlite3, and
// SQLite's text for its code.
func codeOfDriver(err error) (code Code, text string, ok bool) {
	e, ok := errors.AsType[sqlite3.Error](err)
	if !ok {
		return 0, "", false
	}
	return Code(e.ExtendedCode), e.Code.Error(), true
}

// vfsSlot is a name of SQLite's that serves one VFS after the other. SQLite has no
// safe way to unregister a VFS, so connectors that are closed leave theirs to the
// next ones.
type vfsSlot struct {
	name string
	vfs  atomic.Pointer[VFS]
}

// slots are the slots of the process, which SQLite's list of VFSs is one of, too.
var slots struct {
	sync.Mutex
	free []*vfsSlot
	made int
}

// takeSlot returns a slot that serves vfs.
func takeSlot(vfs *VFS) (*vfsSlot, error) {
	slots.Lock()
	defer slots.Unlock()
	if n := len(slots.free); n > 0 {
		slot := slots.free[n-1]
		slots.free = slots.free[:n-1]
		slot.vfs.Store(vfs)
		return slot, nil
	}
	slot := &vfsSlot{name: fmt.Sprintf("litestream-connector-%d", slots.made)}
	slot.vfs.Store(vfs)
	if err := registerVFS(slot.name, slot.vfs.Load); err != nil {
		return nil, err
	}
	slots.made++
	return slot, nil
}

// release gives the slot to the next connector. What is still open through it fails:
// its VFS is closed.
func (s *vfsSlot) release() {
	slots.Lock()
	defer slots.Unlock()
	slots.free = append(slots.free, s)
}
