package dbheader

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzServe serves any page 1. However it is read, in one piece or in parts, it is
// the same, and SQLite finds no WAL mode in it.
func FuzzServe(f *testing.F) {
	page := make([]byte, MinPageSize)
	copy(page, SqliteMagic)
	binary.BigEndian.PutUint16(page[OffPageSize:], MinPageSize)
	f.Add(bytes.Clone(page), uint32(7), uint32(1), uint32(0), uint16(100))
	page[OffReserved] = pageChecksumSize
	sum := pageChecksum(page)
	copy(page[len(page)-pageChecksumSize:], sum[:])
	f.Add(page, uint32(1<<32-1), uint32(1<<32-2), uint32(1<<31), uint16(507))
	f.Fuzz(func(t *testing.T, page []byte, number, commit, shift uint32, at uint16) {
		_, err := Check(page, MinPageSize)
		if err == nil && PageSize(page) != MinPageSize {
			t.Errorf("page size %d is accepted", PageSize(page))
		}
		if len(page) < MinPageSize {
			return
		}
		page = page[:MinPageSize]
		s := Serve(page, number, commit, shift)
		whole, parts := bytes.Clone(page), bytes.Clone(page)
		s.Put(whole, 0, MinPageSize)
		cut := int64(at) % MinPageSize
		s.Put(parts[:cut], 0, MinPageSize)
		s.Put(parts[cut:], cut, MinPageSize)
		if !bytes.Equal(whole, parts) {
			t.Errorf("cut at %d it is another page", cut)
		}
		if whole[OffWriteVersion] == 2 || whole[OffReadVersion] == 2 || binary.BigEndian.Uint32(whole[OffChangeCounter:]) != number {
			t.Errorf("the header is %x", whole[:Size])
		}
		if hasPageChecksum(page) && !hasPageChecksum(whole) {
			t.Error("the checksum was right, and is wrong")
		}
		before := bytes.Clone(page)
		SetFormat(page, [2]byte{2, 2})
		if hasPageChecksum(before) != hasPageChecksum(page) {
			t.Error("a format changes whether the checksum is right")
		}
	})
}
