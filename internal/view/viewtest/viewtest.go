// Package viewtest makes views of files that were never written, for tests.
package viewtest

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// File makes a file that was never written, and its index. It has frames of
// random sizes for the given pages of a database of commit pages.
func File(t testing.TB, minTXID, maxTXID ltx.TXID, pageSize, commit uint32, pgnos func(yield func(uint32) bool)) (*view.File, ltxio.Index) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(minTXID), uint64(maxTXID)))
	return FileOfSizes(t, minTXID, maxTXID, pageSize, commit, pgnos, func(uint32) uint64 { return 20 + rng.Uint64N(uint64(pageSize)) })
}

// FileOfSizes is File with frames of given sizes.
func FileOfSizes(t testing.TB, minTXID, maxTXID ltx.TXID, pageSize, commit uint32, pgnos func(yield func(uint32) bool), sizeOf func(pgno uint32) uint64) (*view.File, ltxio.Index) {
	t.Helper()
	tail := make([]byte, ltx.PageHeaderSize)
	end := uint64(ltx.HeaderSize)
	for pgno := range pgnos {
		size := sizeOf(pgno)
		tail = binary.AppendUvarint(tail, uint64(pgno))
		tail = binary.AppendUvarint(tail, end)
		tail = binary.AppendUvarint(tail, size)
		end += size
	}
	tail = append(tail, 0)
	tail = binary.BigEndian.AppendUint64(tail, uint64(len(tail)-ltx.PageHeaderSize))
	trailer, err := (&ltx.Trailer{FileChecksum: ltx.ChecksumFlag}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	tail = append(tail, trailer...)
	hdr := ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: pageSize, Commit: commit,
		MinTXID: minTXID, MaxTXID: maxTXID, Timestamp: 1_700_000_000_000,
	}
	size := int64(end) + int64(len(tail))
	index, _, err := ltxio.ParseTail(tail, hdr, size)
	if err != nil {
		t.Fatal(err)
	}
	return view.NewFile(&ltx.FileInfo{MinTXID: minTXID, MaxTXID: maxTXID, Size: size}, hdr, index, int64(len(tail))), index
}

// AllPages yields the pages from 1 to commit except the lock page.
func AllPages(pageSize, commit uint32) func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for pgno := uint32(1); pgno <= commit; pgno++ {
			if pgno != ltx.LockPgno(pageSize) && !yield(pgno) {
				return
			}
		}
	}
}

// Scattered yields every n-th page of 4096 bytes from first on.
func Scattered(first, n, commit uint32) func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for pgno := first; pgno <= commit; pgno += n {
			if pgno != ltx.LockPgno(4096) && !yield(pgno) {
				return
			}
		}
	}
}

// Advance returns the view after a file is applied to v.
func Advance(t testing.TB, v *view.View, f *view.File, index ltxio.Index) *view.View {
	t.Helper()
	next, err := v.Advance(f, index)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// HeapOf returns the view that build returns, and the bytes of heap that it
// takes.
func HeapOf(build func() *view.View) (v *view.View, size int64) {
	before := HeapInUse()
	v = build()
	return v, HeapInUse() - before
}

// HeapInUse returns the bytes of heap that are in use.
func HeapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held until the first
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
