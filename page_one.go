package litestream

import (
	"encoding/binary"
	"fmt"
)

// The database header, the first bytes of page 1, as SQLite's file format
// documentation has it.
const (
	sqliteHeaderSize = 100
	minPageSize      = 512
	sqliteMagic      = "SQLite format 3\x00"

	offPageSize      = 16 // u16, 1 means 65536
	offWriteVersion  = 18 // 1: rollback journal, 2: WAL
	offReadVersion   = 19
	offChangeCounter = 24
	offCommit        = 28 // size in pages, valid if offVersionValid equals offChangeCounter
	offSchemaCookie  = 40 // changed with the schema
	offVersionValid  = 92
)

// checkPageOne validates the header in a page 1 as stored, nil if there is
// none, and returns its change counter.
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

// patchPageOne changes the header at the begin of page 1 from what is stored to what is
// served. SQLite must not try WAL mode, for which there is no shared memory.
// It compares the change counter to know whether its page cache is still
// valid, so that must tell states apart, which a primary in WAL mode does not see to.
func patchPageOne(hdr []byte, number, commit uint32) {
	hdr[offWriteVersion], hdr[offReadVersion] = 1, 1
	if binary.BigEndian.Uint32(hdr[offChangeCounter:]) != binary.BigEndian.Uint32(hdr[offVersionValid:]) {
		// The size was not valid as stored, but the equal numbers make it so.
		binary.BigEndian.PutUint32(hdr[offCommit:], commit)
	}
	binary.BigEndian.PutUint32(hdr[offChangeCounter:], number)
	binary.BigEndian.PutUint32(hdr[offVersionValid:], number)
}
