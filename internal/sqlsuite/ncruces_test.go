//go:build !cgo

package sqlsuite_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
	"github.com/ltxvfs/litestream/internal/sqlsuite"
	"github.com/ltxvfs/litestream/internal/testlog"
	"github.com/ltxvfs/litestream/ncruces"
	_ "github.com/ltxvfs/litestream/s3" // registers its URLs
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var registered atomic.Int64 // number of names that pure has used

// pure is ncruces/go-sqlite3. It is behind a driver that behaves as mattn/go-sqlite3,
// since its own turns foreign keys on and texts with a time into times.
var pure = sqlsuite.Binding{
	New: func(t testing.TB, _ sqlsuite.Store) sqlsuite.Instance {
		vfs := litestream.NewVFS(nil, &litestream.Options{Logger: testlog.New(t, nil)})
		name := fmt.Sprintf("sqlsuite-%d", registered.Add(1))
		if err := ncruces.RegisterVFS(name, vfs); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := vfs.Close(context.Background()); err != nil {
				t.Errorf("close vfs: %v", err)
			}
		})
		return sqlsuite.Instance{VFS: name, Open: sqlitetest.Open}
	},
	Code: func(err error) int {
		code, _ := sqlitetest.ExtendedCode(err)
		return code
	},
	NoPlainFunctions: "connections without the VFS are left alone",
	NoEmptyValues:    "the driver passes an empty text for no value",
}

func TestSuite_Ncruces(t *testing.T) {
	t.Run("folder", func(t *testing.T) { sqlsuite.Run(t, pure, sqlsuite.Folder()) })
	t.Run("s3", func(t *testing.T) { sqlsuite.Run(t, pure, sqlsuite.S3(t)) })
}
