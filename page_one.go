package litestream

import (
	"encoding/binary"
	"fmt"
)

// Offsets in the database header, which is at the start of page 1. SQLite's
// file format documentation describes the header.
const (
	sqliteHeaderSize = 100
	minPageSize      = 512
	sqliteMagic      = "SQLite format 3\x00"

	offPageSize      = 16 // a u16 in which 1 means 65536
	offWriteVersion  = 18 // 1: rollback journal, 2: WAL
	offReadVersion   = 19
	offChangeCounter = 24
	offCommit        = 28 // size in pages, valid if offVersionValid equals offChangeCounter
	offSchemaCookie  = 40 // changes with the schema
	offVersionValid  = 92
)

// checkPageOne validates the header in page 1 as stored, and returns its change
// counter. The page is nil if there is no page 1.
func checkPageOne(page []byte, pageSize uint32) (counter uint32, err error) {
	if len(page) < sqliteHeaderSize || string(page[:len(sqliteMagic)]) != sqliteMagic {
		return 0, fmt.Errorf("%w: not a SQLite database", ErrCorrupt)
	}
	size := uint32(binary.BigEndian.Uint16(page[offPageSize:]))
	if size == 1 {
		size = 65536
	}
	if size != pageSize {
		return 0, fmt.Errorf("%w: SQLite's page size is %d, not %d", ErrCorrupt, size, pageSize)
	}
	return binary.BigEndian.Uint32(page[offChangeCounter:]), nil
}

// patchPageOne changes the header at the start of page 1 from its stored form
// to its served form. SQLite must not use WAL mode, because there is no shared
// memory. SQLite compares the change counter to decide whether its page cache
// is still valid, so the counter must differ between states. A primary in WAL
// mode does not ensure that.
func patchPageOne(hdr []byte, number, commit uint32) {
	hdr[offWriteVersion], hdr[offReadVersion] = 1, 1
	if binary.BigEndian.Uint32(hdr[offChangeCounter:]) != binary.BigEndian.Uint32(hdr[offVersionValid:]) {
		// The stored size is not valid, and the equal counters below would make
		// it valid.
		binary.BigEndian.PutUint32(hdr[offCommit:], commit)
	}
	binary.BigEndian.PutUint32(hdr[offChangeCounter:], number)
	binary.BigEndian.PutUint32(hdr[offVersionValid:], number)
}
