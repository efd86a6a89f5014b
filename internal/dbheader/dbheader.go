// Package dbheader knows the header of a SQLite database, the first 100 bytes of
// page 1: what is validated of it, and in what page 1 as SQLite is served it
// differs from page 1 as LTX files store it.
package dbheader

import (
	"encoding/binary"
	"fmt"

	"github.com/ltxvfs/litestream/internal/errs"
)

// Offsets in the database header, which is at the start of page 1. SQLite's
// file format documentation describes the header.
const (
	Size        = 100
	MinPageSize = 512
	SqliteMagic = "SQLite format 3\x00"

	OffPageSize      = 16 // a u16 in which 1 means 65536
	OffWriteVersion  = 18 // 1: rollback journal, 2: WAL
	OffReadVersion   = 19
	OffChangeCounter = 24
	OffCommit        = 28 // size in pages, valid if offVersionValid equals offChangeCounter
	OffSchemaCookie  = 40 // changes with the schema
	OffVersionValid  = 92
)

// walVersion is the version of a format that needs WAL mode.
const walVersion = 2

// Check validates the header in page 1 as stored, and returns its change
// counter. The page is nil if there is no page 1.
func Check(page []byte, pageSize uint32) (counter uint32, err error) {
	if len(page) < Size || string(page[:len(SqliteMagic)]) != SqliteMagic {
		return 0, fmt.Errorf("%w: not a SQLite database", errs.ErrCorrupt)
	}
	if size := PageSize(page); size != pageSize {
		return 0, fmt.Errorf("%w: SQLite's page size is %d, not %d", errs.ErrCorrupt, size, pageSize)
	}
	return binary.BigEndian.Uint32(page[OffChangeCounter:]), nil
}

// Patch changes the header at the start of page 1 from its stored form
// to its served form. SQLite must not use WAL mode, because there is no shared
// memory. A version after that of WAL mode stays, because SQLite must not read or write a
// format that it does not know. SQLite compares the change counter to decide whether
// its page cache is still valid, so the counter must differ between states. A
// primary in WAL mode does not ensure that.
func Patch(hdr []byte, number, commit uint32) {
	for _, off := range []int{OffWriteVersion, OffReadVersion} {
		if hdr[off] == walVersion {
			hdr[off] = 1
		}
	}
	if binary.BigEndian.Uint32(hdr[OffChangeCounter:]) != binary.BigEndian.Uint32(hdr[OffVersionValid:]) {
		// The stored size is not valid, and the equal counters below would make
		// it valid.
		binary.BigEndian.PutUint32(hdr[OffCommit:], commit)
	}
	binary.BigEndian.PutUint32(hdr[OffChangeCounter:], number)
	binary.BigEndian.PutUint32(hdr[OffVersionValid:], number)
}
