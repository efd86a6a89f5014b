package litestream

import (
	"fmt"
	"strings"

	"github.com/ltxvfs/litestream/internal/dbheader"
)

// errNoWAL means that SQLite has tried to switch to WAL mode.
var errNoWAL = fmt.Errorf("%w: there is no WAL mode", errInvalidValue)

// walGuard remembers attempts of SQLite to switch to WAL mode. With
// locking_mode=EXCLUSIVE SQLite would enter WAL mode without shared memory, and
// look for a log that cannot exist.
type walGuard struct {
	exclusive bool // the last PRAGMA locking_mode said EXCLUSIVE
	tried     bool // SQLite has tried to switch, and assumes WAL mode now
}

// watch checks a PRAGMA that SQLite handles itself. The file receives a PRAGMA that
// names its database, or that names none if the file is the main database. Locked
// also implies EXCLUSIVE mode, because within a transaction SQLite itself refuses
// to switch. refuseWAL finds the cases that watch cannot see.
func (g *walGuard) watch(name string, value *string, locked bool) error {
	switch {
	case value == nil:
	case name == "locking_mode":
		g.exclusive = strings.EqualFold(*value, "exclusive")
	case name == "journal_mode" && strings.EqualFold(*value, "wal") && (g.exclusive || locked):
		return errNoWAL
	}
	return nil
}

// refuseWAL returns an error for a page 1 that switches SQLite to WAL mode. After
// its commit, a connection with locking_mode=EXCLUSIVE could not do anything any
// more. SQLite's backup of a database in WAL mode writes such a page, too. That is
// allowed, because it changes the schema cookie as well, and SQLite reads page 1
// again after it has released its lock. With locking_mode=EXCLUSIVE it does not
// release the lock, so refuseWAL refuses the page of a backup as well.
func (c *Conn) refuseWAL(page []byte) error {
	if len(page) < dbheader.Size || page[dbheader.OffWriteVersion] < 2 && page[dbheader.OffReadVersion] < 2 {
		return nil
	}
	if !c.wal.exclusive && !c.wal.tried {
		var cookie [4]byte // zeros for a new database
		if c.tx.FileSize() > 0 {
			if _, err := c.readChanged(c.tx.View(), cookie[:], dbheader.OffSchemaCookie); err != nil {
				return err
			}
		}
		if string(cookie[:]) != string(page[dbheader.OffSchemaCookie:dbheader.OffSchemaCookie+4]) {
			return nil
		}
	}
	c.wal.tried = true
	return errNoWAL
}
