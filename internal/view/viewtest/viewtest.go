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
	f := encode(t, minTXID, maxTXID, pageSize, commit, pgnos, sizeOf)
	return view.NewFile(f.info, f.hdr, f.Index, int64(len(f.tail))), f.Index
}

// Encoded is a file that was never written, from the end of its frames on.
type Encoded struct {
	Index ltxio.Index
	info  *ltx.FileInfo
	hdr   ltx.Header
	tail  []byte
}

// EncodeDense makes a file with every page of its database, with frames of random
// sizes.
func EncodeDense(t testing.TB, maxTXID ltx.TXID, pageSize, commit uint32) *Encoded {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(maxTXID), uint64(commit)))
	return encode(t, 1, maxTXID, pageSize, commit, AllPages(pageSize, commit), func(uint32) uint64 { return 20 + rng.Uint64N(uint64(pageSize)) })
}

// EncodeDenseOfSizes is EncodeDense with frames of given sizes.
func EncodeDenseOfSizes(t testing.TB, maxTXID ltx.TXID, pageSize, commit uint32, sizeOf func(pgno uint32) uint64) *Encoded {
	t.Helper()
	return encode(t, 1, maxTXID, pageSize, commit, AllPages(pageSize, commit), sizeOf)
}

// Whole returns the file with its page index read.
func (e *Encoded) Whole() *view.File { return view.NewFile(e.info, e.hdr, e.Index, int64(len(e.tail))) }

// Unread returns the file with its page index to be read as it is needed.
func (e *Encoded) Unread(t testing.TB, budget *view.Budget) *view.File {
	t.Helper()
	d, _, err := ltxio.ParseDenseTail(e.tail, e.hdr, e.info.Size)
	if err != nil {
		t.Fatal(err)
	}
	return view.NewDenseFile(e.info, e.hdr, view.NewDense(d, budget))
}

// Window returns a part of the page index.
func (e *Encoded) Window(t testing.TB, d *view.Dense, from, to int64) ltxio.Window {
	t.Helper()
	w, err := d.Window(e.tail[from-d.FramesEnd:to-d.FramesEnd], from)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func encode(t testing.TB, minTXID, maxTXID ltx.TXID, pageSize, commit uint32, pgnos func(yield func(uint32) bool), sizeOf func(pgno uint32) uint64) *Encoded {
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
	return &Encoded{index, &ltx.FileInfo{MinTXID: minTXID, MaxTXID: maxTXID, Size: size}, hdr, tail}
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
