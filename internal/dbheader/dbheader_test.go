package dbheader

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/ltxvfs/litestream/internal/errs"
)

// A page has the checksum that SQLite's extension cksumvfs gives it. These are sums of it.
func TestPageChecksum(t *testing.T) {
	page := make([]byte, MinPageSize)
	for i := range page {
		page[i] = byte(i*7 + i>>8)
	}
	if got, want := pageChecksum(page), [pageChecksumSize]byte{0x89, 0xe0, 0x81, 0x2e, 0x72, 0xd5, 0x1b, 0xaf}; got != want {
		t.Errorf("checksum %x, want %x", got, want)
	}
	if got := pageChecksum(make([]byte, 1024)); got != [pageChecksumSize]byte{} {
		t.Errorf("checksum %x of zeros", got)
	}
}

// The schema cookie is served with a shift.
func TestServe_Cookie(t *testing.T) {
	page := make([]byte, MinPageSize)
	copy(page, SqliteMagic)
	for _, c := range []struct{ cookie, shift, want uint32 }{{7, 0, 7}, {7, 5, 12}, {7, 1<<32 - 3, 4}, {1<<32 - 1, 2, 1}} {
		binary.BigEndian.PutUint32(page[OffSchemaCookie:], c.cookie)
		s := Serve(page, 9, 1, c.shift)
		if got := binary.BigEndian.Uint32(s.Header[OffSchemaCookie:]); got != c.want {
			t.Errorf("cookie %d with shift %d is %d", c.cookie, c.shift, got)
		}
	}
}

// A header is that of a database if all of it is there.
func TestCheck_Short(t *testing.T) {
	page := make([]byte, MinPageSize)
	copy(page, SqliteMagic)
	binary.BigEndian.PutUint16(page[OffPageSize:], MinPageSize)
	binary.BigEndian.PutUint32(page[OffChangeCounter:], 77)
	for n := range len(page) + 1 {
		counter, err := Check(page[:n], MinPageSize)
		if n < Size && (!errors.Is(err, errs.ErrCorrupt) || counter != 0) || n >= Size && (err != nil || counter != 77) {
			t.Errorf("%d bytes: %d, %v", n, counter, err)
		}
	}
	binary.BigEndian.PutUint16(page[OffPageSize:], 1)
	if n := PageSize(page); n != 65536 {
		t.Errorf("page size 1 means %d", n)
	}
	if _, err := Check(page, 65536); err != nil {
		t.Errorf("the largest page size: %v", err)
	}
	if _, err := Check(page, 1024); !errors.Is(err, errs.ErrCorrupt) {
		t.Errorf("another page size: %v", err)
	}
}

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
	f.Add(bytes.Clone(page), uint32(7), uint32(1), uint32(0), uint16(100))
	page[OffWriteVersion], page[OffReadVersion] = 2, 2
	f.Add(bytes.Clone(page), uint32(7), uint32(1), uint32(0), uint16(18))
	plain := bytes.Repeat([]byte{7}, MinPageSize)
	copy(plain, page[:Size])
	plain[OffReserved] = 0
	f.Add(plain, uint32(7), uint32(1), uint32(0), uint16(506))
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
		for _, off := range []int{OffWriteVersion, OffReadVersion} {
			want := page[off]
			if want == walVersion {
				want = 1 // a rollback journal
			}
			if whole[off] != want {
				t.Errorf("byte %d is %d, want %d", off, whole[off], want)
			}
		}
		end := MinPageSize
		if hasPageChecksum(page) {
			end -= pageChecksumSize
		}
		if !bytes.Equal(whole[Size:end], page[Size:end]) {
			t.Errorf("the bytes after the header are %x, not %x", whole[Size:end], page[Size:end])
		}
		if hasPageChecksum(page) && !hasPageChecksum(whole) {
			t.Error("the checksum was right, and is wrong")
		}
		wasRight := hasPageChecksum(page)
		// A wrong checksum may be the right one of the page in another format.
		if SetFormat(page, [2]byte{2, 2}); wasRight && !hasPageChecksum(page) {
			t.Error("another format makes the checksum wrong")
		}
	})
}
