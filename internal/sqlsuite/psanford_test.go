//go:build cgo

package sqlsuite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/psanford/sqlite3vfs"
	"go.uber.org/goleak"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/sqlsuite"
	"github.com/ltxvfs/litestream/internal/testlog"
	_ "github.com/ltxvfs/litestream/s3" // registers its URLs
)

// slots are the VFSs that are registered. sqlite3vfs keeps its VFSs in a map
// without a lock, so no VFS may be registered while another is in use.
var slots struct {
	vfs  [64]slot
	free chan int
}

// slot is a place for the VFS of a test.
type slot struct {
	mu  sync.RWMutex
	vfs *litestream.VFS // guarded by mu
}

func (s *slot) get() *litestream.VFS {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.vfs
}

func (s *slot) set(vfs *litestream.VFS) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vfs = vfs
}

func (s *slot) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return s.get().Open(name, flags)
}

func (s *slot) OpenURI(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return s.get().OpenURI(name, params, flags)
}

func (s *slot) Delete(name string, dirSync bool) error { return s.get().Delete(name, dirSync) }

func (s *slot) Access(name string, flags sqlite3vfs.AccessFlag) (bool, error) {
	return s.get().Access(name, flags)
}

func (s *slot) FullPathname(name string) string { return s.get().FullPathname(name) }

func slotName(i int) string { return fmt.Sprintf("sqlsuite-%d", i) }

func TestMain(m *testing.M) {
	slots.free = make(chan int, len(slots.vfs))
	for i := range slots.vfs {
		if err := sqlite3vfs.RegisterVFS(slotName(i), &slots.vfs[i]); err != nil {
			panic(err)
		}
		slots.free <- i
	}
	sql.Register("sqlite3-psanford", &sqlite3.SQLiteDriver{ConnectHook: litestream.RegisterFunctions})
	goleak.VerifyTestMain(m)
}

// psanford is mattn/go-sqlite3 with psanford/sqlite3vfs.
var psanford = sqlsuite.Binding{
	New: func(t testing.TB, _ sqlsuite.Store) sqlsuite.Instance {
		i := <-slots.free
		vfs := litestream.NewVFS(nil, &litestream.Options{Logger: testlog.New(t, nil)})
		slots.vfs[i].set(vfs)
		t.Cleanup(func() {
			if err := vfs.Close(context.Background()); err != nil {
				t.Errorf("close vfs: %v", err)
			}
			slots.free <- i
		})
		return sqlsuite.Instance{VFS: slotName(i), Open: func(uri string) (*sql.DB, error) { return sql.Open("sqlite3-psanford", uri) }}
	},
	Code: func(err error) int {
		var e sqlite3.Error
		errors.As(err, &e)
		return int(e.Code)
	},
	NoChanges:      "sqlite3vfs passes only PRAGMAs on, which return one text",
	NoOpenReason:   "sqlite3vfs passes only a code on",
	NoLocalWAL:     "sqlite3vfs has no shared memory",
	NoSilentCommit: "sqlite3vfs does not pass SQLITE_FCNTL_COMMIT_PHASETWO on, and nothing else shows the commit",
}

func TestSuite_Psanford(t *testing.T) {
	t.Run("folder", func(t *testing.T) { sqlsuite.Run(t, psanford, sqlsuite.Folder()) })
	t.Run("s3", func(t *testing.T) { sqlsuite.Run(t, psanford, sqlsuite.S3(t)) })
}
