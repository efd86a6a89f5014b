//go:build cgo

package litestream_test

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/vfstest"
	"github.com/psanford/sqlite3vfs"
)

// No VFS is ever unregistered, and sqlite3vfs keeps its VFSs in a map without a lock, so no VFS may be
// registered while another is in use. These slots are registered before any
// test runs; each test puts its VFS into one of them.
var slots [128]slot

// overPsanford is the name of a VFS that psanford/sqlite3vfs serves whatever binding the
// tests run over. Tests that use it put their VFS into its slot.
const overPsanford = "litestream-test-over-psanford"

var psanfordSlot slot

// overPsanfordToo is a second such name, for transactions over two VFSs.
const overPsanfordToo = "litestream-test-over-psanford-too"

var psanfordSlotToo slot

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

// psanford is set if the tests run over psanford/sqlite3vfs. Without it they run over
// litestream.RegisterVFS.
var psanford = vfstest.Psanford

// These are differences between the drivers.
const (
	emptyValues   = true   // a PRAGMA with an empty value differs from one without a value
	systemVFS     = "unix" // name of SQLite's VFS for files of the operating system
	fullText      = "fts4"
	fullTextNear  = "SELECT title FROM text WHERE text MATCH 'body NEAR says' ORDER BY rowid LIMIT 9"
	fullTextPiece = "SELECT title, snippet(text) FROM text WHERE text MATCH '11' ORDER BY rowid"
)

// withoutTempFolder leaves SQLite no folder for temporary files until the function
// restore is called. The result is false if that is not possible.
func withoutTempFolder(_ testing.TB, missing string) (restore func(), ok bool) {
	if !psanford {
		return nil, false
	}
	return litestream.TempFolders(missing), true
}

// registerDriver makes the slots known to SQLite. It is called once, before any
// test runs.
func registerDriver() {
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
}

func init() {
	for name, s := range map[string]*slot{overPsanford: &psanfordSlot, overPsanfordToo: &psanfordSlotToo} {
		if err := sqlite3vfs.RegisterVFS(name, s); err != nil {
			panic(err)
		}
	}
}

// setSlot puts a VFS into a slot.
func setSlot(name string, vfs *litestream.VFS) {
	i, err := strconv.Atoi(strings.TrimPrefix(name, slotName(0)[:len(slotName(0))-1]))
	if err != nil {
		panic(err)
	}
	slots[i].vfs.Store(vfs)
}

// openReplica opens a replica by its URL alone, by a connector.
var openReplica, newConnector = litestream.Open, litestream.NewConnector
