package dbheader

import "encoding/binary"

// PageSize returns the page size in a database header.
func PageSize(header []byte) uint32 {
	size := uint32(binary.BigEndian.Uint16(header[OffPageSize:]))
	if size == 1 {
		size = 65536
	}
	return size
}
