//go:build cgo

package litestream_test

import (
	"database/sql"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/ltxvfs/litestream"
	"github.com/mattn/go-sqlite3"
	"github.com/psanford/sqlite3vfs"
)

// No VFS is ever unregistered, and sqlite3vfs keeps its VFSs in a map without a lock, so no VFS may be
// registered while another is in use. These slots are registered before any
// test runs; each test puts its VFS into one of them.
var slots [128]slot

type slot struct {
	vfs atomic.Pointer[litestream.VFS]
}

func (s *slot) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return s.vfs.Load().Open(name, flags)
}

func (s *slot) OpenURI(name string, params map[string]string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	return s.vfs.Load().OpenURI(name, params, flags)
}

func (s *slot) Delete(name string, dirSync bool) error { return s.vfs.Load().Delete(name, dirSync) }

func (s *slot) Access(name string, flags sqlite3vfs.AccessFlag) (bool, error) {
	return s.vfs.Load().Access(name, flags)
}

func (s *slot) FullPathname(name string) string { return s.vfs.Load().FullPathname(name) }

// psanford is set if LITESTREAM_TEST_BINDING=psanford asks for the tests to run over
// psanford/sqlite3vfs. Without it they run over litestream.RegisterVFS.
var psanford = os.Getenv("LITESTREAM_TEST_BINDING") == "psanford"

// registerDriver makes the slots known to SQLite, and registers the driver that
// tests use. It is called once, before any test runs.
func registerDriver() {
	driver := &sqlite3.SQLiteDriver{}
	if psanford {
		driver.ConnectHook = litestream.RegisterFunctions
	}
	for i := range slots {
		var err error
		if psanford {
			err = sqlite3vfs.RegisterVFS(slotName(i), &slots[i])
		} else {
			err = litestream.RegisterVFSFunc(slotName(i), slots[i].vfs.Load)
		}
		if err != nil {
			panic(err)
		}
	}
	sql.Register("sqlite3-litestream", driver)
}

// setSlot puts a VFS into a slot.
func setSlot(name string, vfs *litestream.VFS) {
	i, err := strconv.Atoi(strings.TrimPrefix(name, slotName(0)[:len(slotName(0))-1]))
	if err != nil {
		panic(err)
	}
	slots[i].vfs.Store(vfs)
}

// extendedCode returns the extended result code of an error of SQLite. The result
// is false for other errors.
func extendedCode(err error) (litestream.Code, bool) {
	var e sqlite3.Error
	ok := errors.As(err, &e)
	return litestream.Code(e.ExtendedCode), ok
}

// closeRaw closes a connection of the driver.
func closeRaw(conn any) error { return conn.(*sqlite3.SQLiteConn).Close() }

// backupRaw copies the main database of one connection of the driver to that of
// another by SQLite's backup interface.
func backupRaw(to, from any) error {
	b, err := to.(*sqlite3.SQLiteConn).Backup("main", from.(*sqlite3.SQLiteConn), "main")
	if err != nil {
		return err
	}
	_, err = b.Step(-1)
	return errors.Join(err, b.Finish())
}
