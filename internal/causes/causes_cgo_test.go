//go:build cgo

package causes_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/psanford/sqlite3vfs"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/causes"
	"github.com/ltxvfs/litestream/internal/sqlitetest"
)

// slots are the VFSs that sqlite3vfs knows. It keeps them in a map without a lock, so
// none may be registered while another is in use.
var slots [2]atomic.Pointer[litestream.VFS]

// slot is a VFS whose place another one takes.
type slot struct {
	at *atomic.Pointer[litestream.VFS]
}

func (s slot) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return s.at.Load().Open(name, flags)
}

func (s slot) OpenURI(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return s.at.Load().OpenURI(name, params, flags)
}

func (s slot) Delete(name string, dirSync bool) error { return s.at.Load().Delete(name, dirSync) }

func (s slot) Access(name string, flags sqlite3vfs.AccessFlag) (bool, error) {
	return s.at.Load().Access(name, flags)
}

func (s slot) FullPathname(name string) string { return s.at.Load().FullPathname(name) }

func slotName(i int64) string { return fmt.Sprintf("causes-psanford-%d", i) }

func init() {
	for i := range slots {
		if err := sqlite3vfs.RegisterVFS(slotName(int64(i)), slot{&slots[i]}); err != nil {
			panic(err)
		}
	}
}

// TestCauses_Open runs over connectors of mattn/go-sqlite3.
func TestCauses_Open(t *testing.T) { causes.Run(t, causes.Connector(litestream.Open)) }

// TestCauses_RegisterVFS runs over RegisterVFS, which has the VFS in C.
func TestCauses_RegisterVFS(t *testing.T) {
	var made atomic.Int64
	causes.Run(t, causes.Registered(func(t testing.TB, vfs *litestream.VFS) string {
		name := fmt.Sprintf("causes-%d", made.Add(1))
		if err := litestream.RegisterVFS(name, vfs); err != nil {
			t.Fatal(err)
		}
		return name
	}, sqlitetest.Open))
}

// TestCauses_Psanford runs over psanford/sqlite3vfs.
func TestCauses_Psanford(t *testing.T) {
	var made atomic.Int64
	b := causes.Registered(func(t testing.TB, vfs *litestream.VFS) string {
		i := made.Add(1) % int64(len(slots))
		slots[i].Store(vfs)
		return slotName(i)
	}, sqlitetest.Open)
	b.Lacks = map[string]string{"the limit of a query": "the driver cannot interrupt a read, which goes on until its ReadTimeout"}
	causes.Run(t, b)
}
