//go:build cgo

package sqlsuite_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the driver sqlite3

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlsuite"
	"github.com/ltxvfs/litestream/internal/testlog"
)

var registered atomic.Int64 // number of names that mattn has used

// mattn is mattn/go-sqlite3 with litestream.RegisterVFS.
var mattn = sqlsuite.Binding{
	New: func(t testing.TB, _ sqlsuite.Store) sqlsuite.Instance {
		vfs := litestream.NewVFS(nil, &litestream.Options{Logger: testlog.New(t, nil)})
		name := fmt.Sprintf("sqlsuite-c-%d", registered.Add(1))
		if err := litestream.RegisterVFS(name, vfs); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := vfs.Close(context.Background()); err != nil {
				t.Errorf("close vfs: %v", err)
			}
		})
		return sqlsuite.Instance{VFS: name, Open: func(uri string) (*sql.DB, error) { return sql.Open("sqlite3", uri) }}
	},
	Code:             psanford.Code,
	NoPlainFunctions: "connections without the VFS are left alone",
}

func TestSuite_Mattn(t *testing.T) {
	t.Run("folder", func(t *testing.T) { sqlsuite.Run(t, mattn, sqlsuite.Folder()) })
	t.Run("s3", func(t *testing.T) { sqlsuite.Run(t, mattn, sqlsuite.S3(t)) })
}
