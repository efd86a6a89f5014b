//go:build cgo

package litestream

import (
	"context"
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// replicaURLHere returns the URL of a replica with an empty table t.
func replicaURLHere(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	ltxtest.New(t, file.NewReplicaClient(dir), ltxtest.Options{}).Exec("CREATE TABLE t (x)")
	return "file://" + filepath.ToSlash(dir)
}

// lateDriver calls a function when it has opened a connection.
type lateDriver struct {
	mattnDriver
	opened func()
}

func (d lateDriver) Open(uri string) (driver.Conn, error) {
	conn, err := d.mattnDriver.Open(uri)
	d.opened()
	return conn, err
}

// TestConnector_EndsLate ends the context of a Connect when the driver has opened the
// connection. Connect returns it, since nothing else would close it.
func TestConnector_EndsLate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, err := NewDriverConnector(replicaURLHere(t), &Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)}, lateDriver{opened: cancel})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Connect(ctx)
	if ctx.Err() == nil {
		t.Fatal("the driver was not asked")
	}
	if err != nil {
		t.Errorf("connect: %v", err)
	} else if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := c.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
}

// TestConnector_NameTaken has the program take the name under which the next
// connector would register its VFS. No connection of the connector reads by that other
// VFS: the first one fails, and the next one registers another name.
func TestConnector_NameTaken(t *testing.T) {
	connectorNames.Lock()
	connectorNames.free = nil
	name := fmt.Sprintf("litestream-connector-%d", connectorNames.made+1)
	connectorNames.Unlock()
	if err := RegisterVFS(name, newTestVFS(t, fourPages(t))); err != nil {
		t.Fatal(err)
	}
	url := replicaURLHere(t)
	for _, taken := range []bool{true, false} {
		db, err := Open(url, &Options{PollInterval: -1, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		read := func() error { return db.QueryRow("SELECT count(*) FROM t").Scan(new(int)) }
		if err := read(); (err != nil) != taken || taken && !strings.Contains(err.Error(), name) {
			t.Errorf("the name %s is taken: %v, and the first connection: %v", name, taken, err)
		}
		if err := read(); err != nil {
			t.Errorf("the second connection: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}
