//go:build !cgo

package causes_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/causes"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/ncruces"
)

// TestCauses_Open runs over connectors of ncruces/go-sqlite3.
func TestCauses_Open(t *testing.T) { causes.Run(t, causes.Connector(ncruces.Open)) }

// TestCauses_RegisterVFS runs over ncruces.RegisterVFS.
func TestCauses_RegisterVFS(t *testing.T) {
	var made atomic.Int64
	causes.Run(t, causes.Registered(func(t testing.TB, vfs *litestream.VFS) string {
		name := fmt.Sprintf("causes-%d", made.Add(1))
		if err := ncruces.RegisterVFS(name, vfs); err != nil {
			t.Fatal(err)
		}
		return name
	}, sqlitetest.Open))
}
