package ownfile

import (
	"encoding/binary"
	"os"

	"github.com/cespare/xxhash/v2"
)

// Identity tells a file from other files, and from copies of it. The zero Identity
// is unknown.
type Identity struct {
	Device uint64 // number of the file system, which may change when the host restarts
	Number uint64 // number of the file in its file system, which a later file may get
	Born   int64  // when the file was created, in nanoseconds since the Unix epoch; 0: the system does not tell

	Names   uint64 // paths that name the file, which are hard links if there are several; not a part of the numbers below
	IsMount bool   // the path of the file is a mount point; not a part of the numbers below
}

// IdentityOf returns the identity of an open file, the zero Identity if the system
// does not tell it.
func IdentityOf(f *os.File) Identity { return identityOf(f) }

// InBoot returns a number that no other file has until the host restarts, or 0 if
// the identity is unknown.
func (i Identity) InBoot() uint64 { return i.sum(i.Device) }

// Lasting returns a number that the file keeps when the host restarts, or 0 if the
// identity is unknown. A copy of the file has another one. A file of another file
// system may have the same.
func (i Identity) Lasting() uint64 { return i.sum(0) }

func (i Identity) sum(device uint64) uint64 {
	if i.Number == 0 {
		return 0
	}
	b := binary.BigEndian.AppendUint64(nil, device)
	b = binary.BigEndian.AppendUint64(b, i.Number)
	b = binary.BigEndian.AppendUint64(b, uint64(i.Born))
	return max(1, xxhash.Sum64(b))
}
