package litestream

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// fakeFile makes the index of a file that nobody wrote, with frames of
// random sizes for the given pages of a database of commit pages.
func fakeFile(t testing.TB, minTXID, maxTXID ltx.TXID, pageSize, commit uint32, pgnos func(yield func(uint32) bool)) (*ltxFile, ltxio.Index) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(minTXID), uint64(maxTXID)))
	tail := make([]byte, ltx.PageHeaderSize)
	end := uint64(ltx.HeaderSize)
	for pgno := range pgnos {
		size := 20 + rng.Uint64N(uint64(pageSize))
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
	return newLTXFile(&ltx.FileInfo{MinTXID: minTXID, MaxTXID: maxTXID, Size: size}, hdr, index, int64(len(tail))), index
}

// allPages yields 1 to commit but for the lock page.
func allPages(pageSize, commit uint32) func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for pgno := uint32(1); pgno <= commit; pgno++ {
			if pgno != ltx.LockPgno(pageSize) && !yield(pgno) {
				return
			}
		}
	}
}

// scattered yields every n-th page of 4096 bytes from first on.
func scattered(first, n, commit uint32) func(func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for pgno := first; pgno <= commit; pgno += n {
			if pgno != ltx.LockPgno(4096) && !yield(pgno) {
				return
			}
		}
	}
}

func mustAdvance(t testing.TB, v *view, f *ltxFile, index ltxio.Index) *view {
	t.Helper()
	next, err := v.advance(f, index)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// heapOf returns how much heap what build returns takes, bytes.
func heapOf(build func() *view) (v *view, size int64) {
	before := heapInUse()
	v = build()
	return v, heapInUse() - before
}

func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held until the first
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
