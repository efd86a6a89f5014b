package litestream

import (
	"fmt"
	"strings"

	"github.com/ltxvfs/litestream/internal/dbheader"
)

// errNoWAL means an attempt to go to WAL mode.
var errNoWAL = fmt.Errorf("%w: there is no WAL mode", errInvalidValue)

// walGuard knows what SQLite has tried that leads to WAL mode. With
// locking_mode=EXCLUSIVE SQLite would go to WAL mode without shared memory, and
// look for a log that cannot exist.
type walGuard struct {
	exclusive bool // the last PRAGMA locking_mode said EXCLUSIVE
	tried     bool // SQLite has tried to go to WAL mode, and takes itself to be there
}

// watch looks at a PRAGMA of SQLite's own. The file hears of one that names its
// database, or that names none if the file is the main database. A lock that is
// held tells of EXCLUSIVE mode, too: within a transaction SQLite has an error
// itself. Where neither tells, refuseWAL does.
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

// refuseWAL returns an error for a page 1 by which SQLite goes to WAL mode. Once
// it was committed, a connection with locking_mode=EXCLUSIVE could do nothing any
// more. SQLite's backup copies a database in WAL mode with such a page, which is
// fine: it changes the schema cookie as well, and SQLite reads page 1 again after
// it has given up its lock. Where it does not give it up, that is refused, too.
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
