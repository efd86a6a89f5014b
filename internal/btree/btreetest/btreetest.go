// Package btreetest makes pages of b-trees for tests.
package btreetest

import (
	"encoding/binary"

	"github.com/ltxvfs/litestream/internal/btree"
)

// Interior makes an interior page of a table with keys 0, 1, 2, ...
func Interior(size int, children ...uint32) []byte {
	b := make([]byte, size)
	b[0] = byte(btree.InteriorTable)
	cells := len(children) - 1
	binary.BigEndian.PutUint16(b[3:], uint16(cells))
	binary.BigEndian.PutUint32(b[8:], children[cells])
	end := size
	for i, child := range children[:cells] {
		end -= 7
		binary.BigEndian.PutUint32(b[end:], child)
		b[end+4], b[end+5], b[end+6] = byte(i>>14)|0x80, byte(i>>7)|0x80, byte(i&0x7f)
		binary.BigEndian.PutUint16(b[12+2*i:], uint16(end))
	}
	binary.BigEndian.PutUint16(b[5:], uint16(end))
	return b
}
