package ltxio_test

import (
	"bytes"
	"hash/crc64"
	"math/rand/v2"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// However a file is split, the joined sum of the parts must be the sum of the
// whole.
func TestSum_Join(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 7, 100, 5000, 300_000} {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		want := ltx.Trailer{FileChecksum: ltx.ChecksumFlag | ltx.Checksum(crc64.Checksum(b, crc64.MakeTable(crc64.ISO)))}
		for range 20 {
			var joined ltxio.Sum
			for rest := b; ; {
				n := rng.IntN(len(rest) + 1)
				var s ltxio.Sum
				s.Add(rest[:n])
				joined = joined.Join(s)
				if rest = rest[n:]; len(rest) == 0 {
					break
				}
			}
			if err := joined.Check(want); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
		}
		var wrong ltxio.Sum
		wrong.Add(append(bytes.Clone(b), 0))
		if wrong.Check(want) == nil {
			t.Errorf("%d bytes: another content has the same sum", size)
		}
	}
}

// The test walks through a file frame by frame, without its index, and checks
// its checksum.
func TestFrameSize(t *testing.T) {
	for _, format := range []bool{false, true} {
		pages := make(map[uint32][]byte)
		for pgno := range uint32(20) {
			page := make([]byte, 4096)
			for i := range page[:pgno*200] {
				page[i] = byte(rand.Uint32())
			}
			pages[pgno+1] = page
		}
		b := ltxtest.EncodeLTX(ltx.Header{
			Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 4096, Commit: 20, MinTXID: 1, MaxTXID: 3, Timestamp: 1,
		}, pages, format)
		f, err := ltxio.ParseFile(b, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		var sum ltxio.Sum
		sum.Add(b[:ltx.HeaderSize])
		page := make([]byte, 4096)
		rest := b[ltx.HeaderSize:]
		f.Index.Each(func(e ltxio.Entry) bool {
			pgno, size, err := ltxio.FrameSize(rest)
			if err != nil || pgno != e.Pgno || size != int(e.Size) {
				t.Fatalf("page %d of %d bytes, error %v, index says %+v", pgno, size, err, e)
			}
			if err := ltxio.DecodeFrame(page, rest[:size], pgno); err != nil {
				t.Fatal(err)
			}
			sum.AddFrame(rest[:size], page)
			for _, short := range []int{0, 3, 5, 9, 20, size - 1} {
				if _, _, err := ltxio.FrameSize(rest[:min(short, size-1)]); err == nil {
					t.Fatalf("page %d: %d of %d bytes are taken for a frame", pgno, min(short, size-1), size)
				}
			}
			rest = rest[size:]
			return true
		})
		sum.Add(rest[:len(rest)-ltx.ChecksumSize])
		if err := sum.Check(f.Trailer); err != nil {
			t.Error(err)
		}
	}
}

// CheckFrames must accept the sums of the head, the pages and the tail of a
// file, and reject them if one bit of a page differs.
func TestSum_CheckFrames(t *testing.T) {
	for _, format := range []bool{false, true} {
		pages := make(map[uint32][]byte)
		for pgno := range uint32(30) {
			page := make([]byte, 4096)
			for i := range page[:pgno*100] {
				page[i] = byte(rand.Uint32())
			}
			pages[pgno+1] = page
		}
		b := ltxtest.EncodeLTX(ltx.Header{PageSize: 4096, Commit: 30, MinTXID: 1, MaxTXID: 3, Timestamp: 1}, pages, format)
		f, err := ltxio.ParseFile(b, 1, 3)
		if err != nil {
			t.Fatal(err)
		}
		need, err := ltxio.TailSize(b, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		sized := ltxio.IsSized(b[ltx.HeaderSize:])
		if sized == format {
			t.Fatalf("frames are sized: %v", sized)
		}
		n := 30 * (4096 + ltxio.FrameHeaderSize(sized))
		var head, tail ltxio.Sum
		head.Add(b[:ltx.HeaderSize])
		tail.Add(b[int64(len(b))-need : len(b)-ltx.ChecksumSize])
		crc := ltxio.FramesCRC(f.Trailer.FileChecksum, head, n, tail)
		frames := func() (all ltxio.Sum) {
			f.Index.Each(func(e ltxio.Entry) bool {
				var s ltxio.Sum
				s.AddPage(e.Pgno, e.Size, sized, pages[e.Pgno])
				all = all.Join(s)
				return true
			})
			return all
		}
		if !frames().CheckFrames(crc, n, need-ltx.ChecksumSize) {
			t.Errorf("sized %v: the checksum is not found again", sized)
		}
		for range 200 {
			page, i, mask := pages[1+rand.Uint32N(30)], rand.IntN(4096), byte(1)<<rand.IntN(8)
			page[i] ^= mask
			if frames().CheckFrames(crc, n, need-ltx.ChecksumSize) {
				t.Errorf("sized %v: a flipped bit is not found", sized)
			}
			page[i] ^= mask
		}
		if frames().CheckFrames(crc, n+1, need-ltx.ChecksumSize) {
			t.Error("the number of bytes does not count")
		}
	}
}
