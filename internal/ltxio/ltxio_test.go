package ltxio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/superfly/ltx"
)

// encode encodes a file with the given pages, using the reference encoder.
func encode(t testing.TB, hdr ltx.Header, pgnos []uint32) ([]byte, map[uint32][]byte) {
	t.Helper()
	var buf bytes.Buffer
	enc, err := ltx.NewEncoder(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if err := enc.EncodeHeader(hdr); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(pgnos))))
	pages := make(map[uint32][]byte)
	for _, pgno := range pgnos {
		page := make([]byte, hdr.PageSize)
		for i := range page[:rng.IntN(len(page))] {
			page[i] = byte(rng.Uint32())
		}
		pages[pgno] = page
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, page); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), pages
}

func header(pageSize, commit uint32, minTXID, maxTXID ltx.TXID) ltx.Header {
	return ltx.Header{
		Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: pageSize, Commit: commit,
		MinTXID: minTXID, MaxTXID: maxTXID, Timestamp: 1_700_000_000_000,
	}
}

func TestParseFile(t *testing.T) {
	for pageSize := uint32(512); pageSize <= 65536; pageSize *= 2 {
		for _, tc := range []struct {
			hdr   ltx.Header
			pgnos []uint32
		}{
			{header(pageSize, 4, 1, 3), []uint32{1, 2, 3, 4}},
			{header(pageSize, 1000, 7, 9), []uint32{1, 17, 300, 1000}},
			{header(pageSize, 1000, 7, 9), nil},
		} {
			b, pages := encode(t, tc.hdr, tc.pgnos)
			f, err := ParseFile(b, tc.hdr.MinTXID, tc.hdr.MaxTXID)
			if err != nil {
				t.Fatal(err)
			}
			if f.Index.Len() != len(tc.pgnos) {
				t.Fatalf("%d pages, want %d", f.Index.Len(), len(tc.pgnos))
			}
			seen := 0
			if err := f.Verify(func(pgno uint32, page []byte) {
				seen++
				if !bytes.Equal(page, pages[pgno]) {
					t.Fatalf("page %d differs", pgno)
				}
			}); err != nil {
				t.Fatal(err)
			}
			if seen != len(pages) {
				t.Fatalf("saw %d of %d pages", seen, len(pages))
			}
		}
	}
}

// A change of any byte of a file must be detected by a reader of the whole
// file. The checksum covers decompressed pages, so a change that decompresses
// to the same bytes does not count.
func TestEveryByteMatters(t *testing.T) {
	hdr := header(512, 40, 5, 6)
	b, pages := encode(t, hdr, []uint32{1, 2, 9, 40})
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			mutant := bytes.Clone(b)
			mutant[i] ^= bit
			f, err := ParseFile(mutant, 5, 6)
			same := 0
			if err == nil {
				err = f.Verify(func(pgno uint32, page []byte) {
					if bytes.Equal(page, pages[pgno]) {
						same++
					}
				})
			}
			if !errors.Is(err, ErrCorrupt) && (err != nil || same != len(pages)) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
		}
	}
	for n := range b {
		if _, err := ParseFile(b[:n], 5, 6); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

// TestParseTail_SnapshotIsDense omits a page of a file that starts at
// transaction 1 and therefore must contain all pages.
func TestParseTail_SnapshotIsDense(t *testing.T) {
	hdr := header(4096, 4, 9, 9)
	b, _ := encode(t, hdr, []uint32{1, 2, 4})
	if _, _, err := ParseTail(b, hdr, int64(len(b))); err != nil {
		t.Fatal(err)
	}
	hdr.MinTXID = 1
	if _, _, err := ParseTail(b, hdr, int64(len(b))); !errors.Is(err, ErrCorrupt) {
		t.Errorf("3 of 4 pages: %v", err)
	}
}

// The trailer of a file is checked, and its pages are those of its database.
func TestParseTail_Refuses(t *testing.T) {
	hdr := header(512, 4, 1, 6)
	b, _ := encode(t, hdr, []uint32{1, 2, 3, 4})
	bad := bytes.Clone(b)
	bad[len(bad)-ltx.TrailerSize+ltx.TrailerChecksumOffset] = 0 // without the flag of a checksum
	if _, _, err := ParseTail(bad, hdr, int64(len(bad))); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "trailer: ") {
		t.Errorf("a trailer without a checksum: %v", err)
	}
	if _, _, err := ParseDenseTail(bad, hdr, int64(len(bad))); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "trailer: ") {
		t.Errorf("a trailer without a checksum, of a dense index: %v", err)
	}
	smaller := header(512, 3, 2, 6)
	if index, _, err := ParseTail(b, smaller, int64(len(b))); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page 4 in a database of 3 pages") || index.Len() != 0 {
		t.Errorf("a page beyond the end: %d pages, %v", index.Len(), err)
	}
}

// A tail must have all that TailSize says.
func TestParseTail_TooShort(t *testing.T) {
	hdr := header(512, 300, 5, 6)
	b, _ := encode(t, hdr, []uint32{1, 2, 300})
	need, err := TailSize(b, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(0); n <= need+1; n++ {
		index, _, err := ParseTail(b[int64(len(b))-n:], hdr, int64(len(b)))
		if (err == nil) != (n >= need) || err != nil && !errors.Is(err, ErrCorrupt) || err == nil && index.Len() != 3 {
			t.Errorf("%d of %d bytes: %d pages, %v", n, need, index.Len(), err)
		}
	}
}

// A page index says where it ends. One that is cut off says so nowhere.
func TestParseIndex_CutOff(t *testing.T) {
	hdr := header(512, 300, 5, 6)
	b, _ := encode(t, hdr, []uint32{1, 200, 300})
	f, err := ParseFile(b, 5, 6)
	if err != nil {
		t.Fatal(err)
	}
	raw := f.Index.raw
	for n := range raw {
		index, err := parseIndex(raw[:n], hdr, 1<<20)
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "page index ends early") || index.Len() != 0 {
			t.Errorf("%d of %d bytes: %d pages, %v", n, len(raw), index.Len(), err)
		}
	}
}

// A page has a frame of more than its header.
func TestParseIndex_FrameSizes(t *testing.T) {
	hdr := header(512, 300, 5, 6)
	most := uint64(MaxFrameSize(512))
	for size, ok := range map[uint64]bool{0: false, ltx.PageHeaderSize: false, ltx.PageHeaderSize + 1: true, most: true, most + 1: false} {
		raw := binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(nil, 7), ltx.HeaderSize), size)
		index, err := parseIndex(append(raw, 0), hdr, int64(ltx.HeaderSize+size))
		if (err == nil) != ok || ok && index.Len() != 1 || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("a frame of %d bytes: %d pages, %v", size, index.Len(), err)
		}
	}
}

// Numbers in an entry have bounds.
func TestDecodeEntry(t *testing.T) {
	for _, c := range []struct {
		pgno, offset, size uint64
		ok                 bool
	}{
		{1, 100, 50, true}, {maxCommit, MaxFileSize, MaxFileSize >> 8, false}, // that is too long
		{maxCommit, 1, 1, true}, {maxCommit + 1, 1, 1, false}, {1, MaxFileSize, 1, true}, {1, MaxFileSize + 1, 1, false},
		{1, 1, 1<<21 - 1, true}, {maxCommit, MaxFileSize, 1<<21 - 1, true}, {1, 1, MaxFileSize >> 8, true}, {1, 1, MaxFileSize>>8 + 1, false}, {1 << 40, 1, 1, false},
	} {
		b := binary.AppendUvarint(binary.AppendUvarint(binary.AppendUvarint(nil, c.pgno), c.offset), c.size)
		c.ok = c.ok && len(b) <= maxEntrySize
		e, n, err := decodeEntry(b)
		if (err == nil) != c.ok || c.ok && (n != len(b) || e != Entry{uint32(c.pgno), uint32(c.size), int64(c.offset)}) || err != nil && (n != 0 || !errors.Is(err, ErrCorrupt)) {
			t.Errorf("%+v: %+v of %d bytes, %v", c, e, n, err)
		}
		for cut := range len(b) {
			if _, n, err := decodeEntry(b[:cut]); c.ok && (n != 0 || err != nil) {
				t.Errorf("%+v, %d of %d bytes: %d, %v", c, cut, len(b), n, err)
			}
		}
	}
}

// A page index is as large as the entries of all pages can be at most.
func TestTailSizeOf(t *testing.T) {
	hdr := header(512, 10, 5, 6)
	const most = 10*maxEntrySize + 1
	for size := int64(most - 2); size <= most+2; size++ {
		tail := append(binary.BigEndian.AppendUint64(nil, uint64(size)), make([]byte, ltx.TrailerSize)...)
		n, err := TailSizeOf(hdr, tail, 1<<20)
		if want := size + ltx.PageHeaderSize + indexFooterSize; (err == nil) != (size <= most) || err == nil && n != want || err != nil && (!errors.Is(err, ErrCorrupt) || n != 0) {
			t.Errorf("an index of %d bytes, %d at most: %d, %v", size, most, n, err)
		}
	}
	if n, err := TailSizeOf(hdr, nil, 1<<20); !errors.Is(err, ErrCorrupt) {
		t.Errorf("no tail: %d, %v", n, err)
	}
}

// TestParseTail_Frames gives the frames of an index more or less room than they take.
func TestParseTail_Frames(t *testing.T) {
	hdr := header(512, 300, 5, 6)
	b, _ := encode(t, hdr, []uint32{1, 2, 300})
	for more := int64(-3); more <= 3; more++ {
		if _, _, err := ParseTail(b, hdr, int64(len(b))+more); (err == nil) != (more == 0) || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes more: %v", more, err)
		}
	}
}

// lz4Frame returns a page frame as Litestream up to v0.5.15 wrote it.
func lz4Frame(t testing.TB, pgno uint32, page []byte, opts ...lz4.Option) []byte {
	t.Helper()
	var buf bytes.Buffer
	_ = binary.Write(&buf, binary.BigEndian, pgno)
	_ = binary.Write(&buf, binary.BigEndian, uint16(0))
	w := lz4.NewWriter(&buf)
	if err := w.Apply(opts...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(page); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestDecodeFrameLZ4Frame(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, size := range []int{512, 4096, 65536} {
		for _, fill := range []int{0, size / 2, size} { // from all zero to incompressible
			page := make([]byte, size)
			for i := range page[:fill] {
				page[i] = byte(rng.Uint32())
			}
			for name, opts := range map[string][]lz4.Option{
				"default":      nil,
				"small blocks": {lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true)},
				"sized":        {lz4.SizeOption(uint64(size))},
				"no checksum":  {lz4.ChecksumOption(false)},
			} {
				frame := lz4Frame(t, 7, page, opts...)
				dst := bytes.Repeat([]byte{0xEE}, size)
				if err := DecodeFrame(dst, frame, 7); err != nil {
					t.Fatalf("%d bytes, %s: %v", size, name, err)
				}
				if !bytes.Equal(dst, page) {
					t.Fatalf("%d bytes, %s: page differs", size, name)
				}
				if err := CheckDescriptor(frame, 7); err != nil {
					t.Fatalf("%d bytes, %s: %v", size, name, err)
				}
				if err := DecodeFrame(dst, append(frame, 0), 7); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s: a byte too many: %v", name, err)
				}
				if pgno, n, err := FrameSize(append(bytes.Clone(frame), 1, 2, 3)); pgno != 7 || n != len(frame) || err != nil {
					t.Fatalf("%s: a frame of %d bytes of page %d, want %d; %v", name, n, pgno, len(frame), err)
				}
				if _, n, err := FrameSize(frame[:len(frame)-1]); n != 0 || !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s: a frame of %d bytes that is cut off, %v", name, n, err)
				}
				for i := range 4 { // the magic number
					bad := bytes.Clone(frame)
					bad[ltx.PageHeaderSize+i] ^= 1
					if err := DecodeFrame(dst, bad, 7); !errors.Is(err, ErrCorrupt) {
						t.Fatalf("%s: another magic number: %v", name, err)
					}
					if _, n, err := FrameSize(bad); !errors.Is(err, ErrCorrupt) {
						t.Fatalf("%s: a frame of %d bytes with another magic number, %v", name, n, err)
					}
				}
				for n := range min(len(frame), 40) {
					for _, cut := range []int{n, len(frame) - 1 - n} {
						if err := DecodeFrame(dst, frame[:cut:cut], 7); !errors.Is(err, ErrCorrupt) {
							t.Fatalf("%s: %d of %d bytes: %v", name, cut, len(frame), err)
						}
					}
				}
			}
			if err := DecodeFrame(make([]byte, size*2), lz4Frame(t, 7, page), 7); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("half a page: %v", err)
			}
			lying := lz4Frame(t, 7, page, lz4.SizeOption(uint64(size)))
			lying[ltx.PageHeaderSize+lz4DescriptorOffset+2]++
			if err := DecodeFrame(make([]byte, size), lying, 7); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("a page whose frame says another size: %v", err)
			}
			if err := DecodeFrame(make([]byte, size/2), lz4Frame(t, 7, page), 7); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("two pages: %v", err)
			}
		}
	}
}

// TestCheckDescriptor changes the part of an LZ4 frame that its header checksum
// covers.
func TestCheckDescriptor(t *testing.T) {
	for _, opts := range [][]lz4.Option{nil, {lz4.SizeOption(512)}} {
		frame := lz4Frame(t, 7, make([]byte, 512), opts...)
		size := 2
		if opts != nil {
			size += 8
		}
		for i := range size {
			bad := bytes.Clone(frame)
			bad[ltx.PageHeaderSize+lz4DescriptorOffset+i] ^= 0x40
			if err := CheckDescriptor(bad, 7); !errors.Is(err, ErrCorrupt) {
				t.Errorf("byte %d of %d: %v", i, size, err)
			}
		}
	}
}

// TestReadRest reads the end of a file with reads of any size before it.
func TestReadRest(t *testing.T) {
	file := make([]byte, 5*tailStep/2)
	for i := range file {
		file[i] = byte(i * 31 >> 3)
	}
	size := int64(len(file))
	for _, tail := range []int64{0, 1, tailStep} {
		for _, need := range []int64{tail, tail + 1, tailStep + 7, 2*tailStep + 9, size} {
			got, err := ReadRest(file[size-tail:], max(need, tail), size, func(buf []byte, offset int64) error {
				copy(buf, file[offset:])
				return nil
			})
			if err != nil || !bytes.Equal(got, file[size-max(need, tail):]) {
				t.Errorf("%d bytes with %d of them known: %d bytes, %v", need, tail, len(got), err)
			}
		}
	}
	wrong := errors.New("wrong")
	if _, err := ReadRest(nil, 1, size, func([]byte, int64) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("read that fails: %v", err)
	}
}

func TestDecodeFrameAllocatesNothing(t *testing.T) {
	page := bytes.Repeat([]byte("litestream"), 410)[:4096]
	old := lz4Frame(t, 7, page)
	dst := make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() {
		if err := DecodeFrame(dst, old, 7); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("lz4 frame: %v allocations", n)
	}
	b, _ := encode(t, header(4096, 1, 1, 1), []uint32{1})
	f, err := ParseFile(b, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		f.Index.Each(func(e Entry) bool {
			if err := DecodeFrame(dst, b[e.Offset:e.Offset+int64(e.Size)], 1); err != nil {
				t.Fatal(err)
			}
			return true
		})
	}); n != 0 {
		t.Errorf("lz4 block: %v allocations", n)
	}
}

// The test vectors are from the reference implementation of the xxHash
// specification.
func TestXXH32(t *testing.T) {
	for s, want := range map[string]uint32{
		"":    0x02CC5D05,
		"a":   0x550D7456,
		"abc": 0x32D153FF,
		"Nobody inspects the spammish repetition": 0xE2293B2F,
	} {
		if got := xxh32([]byte(s)); got != want {
			t.Errorf("xxh32(%q) = %08x, want %08x", s, got, want)
		}
	}
}

// TestXXH32_Lengths compares the sums of texts of all lengths with those that the reference
// writer puts at the end of a frame.
func TestXXH32_Lengths(t *testing.T) {
	for n := 1; n < 100; n++ {
		content := make([]byte, n)
		for i := range content {
			content[i] = byte(i*i + n)
		}
		frame := lz4Frame(t, 1, content, lz4.ChecksumOption(true))
		if got, want := xxh32(content), binary.LittleEndian.Uint32(frame[len(frame)-4:]); got != want {
			t.Errorf("%d bytes: %08x, want %08x", n, got, want)
		}
	}
}

// TestFrameEncoder appends frames of pages that can be compressed well, a little and not
// at all.
func TestFrameEncoder(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 4))
	var e FrameEncoder
	for _, size := range []int{512, 4096, 65536} {
		for _, fill := range []int{0, 1, size / 2, size} {
			page := make([]byte, size)
			for i := range page[:fill] {
				page[i] = byte(rng.Uint32())
			}
			for _, before := range []string{"", "what was there before"} {
				b, err := e.AppendFrame([]byte(before), 7, page)
				if err != nil || !bytes.HasPrefix(b, []byte(before)) {
					t.Fatal(err)
				}
				frame, got := b[len(before):], make([]byte, size)
				if err := DecodeFrame(got, frame, 7); err != nil || !bytes.Equal(got, page) {
					t.Errorf("%d of %d bytes: %v", fill, size, err)
				}
				if pgno, n, err := FrameSize(frame); pgno != 7 || n != len(frame) || err != nil || !IsSized(frame) || int64(n) > MaxFrameSize(uint32(size)) {
					t.Errorf("%d of %d bytes: %d bytes of page %d, want %d; %v", fill, size, n, pgno, len(frame), err)
				}
				for cut := range 12 {
					if pgno, n, err := FrameSize(frame[:cut]); !errors.Is(err, ErrCorrupt) || n != 0 || pgno != 0 {
						t.Errorf("%d bytes of a frame: %d bytes of page %d, %v", cut, n, pgno, err)
					}
					if want := cut >= ltx.PageHeaderSize; IsSized(frame[:cut]) != want {
						t.Errorf("%d bytes of a frame are sized: %v", cut, !want)
					}
				}
			}
		}
	}
	if old := lz4Frame(t, 7, make([]byte, 512)); IsSized(old) {
		t.Error("a frame of the older format contains its size")
	}
}

func FuzzParseFile(f *testing.F) {
	small, _ := encode(f, header(512, 3, 1, 2), []uint32{1, 2, 3})
	sparse, _ := encode(f, header(512, 300, 5, 6), []uint32{1, 299})
	f.Add(small, uint64(1), uint64(2))
	f.Add(sparse, uint64(5), uint64(6))
	f.Fuzz(func(t *testing.T, b []byte, minTXID, maxTXID uint64) {
		file, err := ParseFile(b, ltx.TXID(minTXID), ltx.TXID(maxTXID))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not ErrCorrupt: %v", err)
			}
			return
		}
		// The reference decoder must accept the same files.
		verr := file.Verify(nil)
		if dec := ltx.NewDecoder(bytes.NewReader(b)); verr == nil {
			if err := dec.Verify(); err != nil {
				t.Fatalf("accepted a file that the ltx package rejects: %v", err)
			}
		}
	})
}

func FuzzDecodeFrame(f *testing.F) {
	page := bytes.Repeat([]byte{1, 2, 3, 4}, 128)
	f.Add(lz4Frame(f, 9, page), uint32(9))
	f.Add([]byte{0, 0, 0, 9, 0, 1, 0, 0, 0, 2, 0x10, 0x20}, uint32(9))
	f.Fuzz(func(t *testing.T, frame []byte, pgno uint32) {
		dst := make([]byte, 512)
		if err := DecodeFrame(dst, frame, pgno); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("not ErrCorrupt: %v", err)
			}
		}
	})
}

// A header is of the transactions that the name of its file says.
func TestParseHeader_Transactions(t *testing.T) {
	hdr := header(4096, 5, 7, 9)
	b, err := hdr.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]ltx.TXID{{7, 9}, {6, 9}, {8, 9}, {7, 8}, {7, 10}, {9, 7}} {
		if _, err := ParseHeader(b, c[0], c[1]); (err == nil) != (c == [2]ltx.TXID{7, 9}) || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("transactions %d to %d: %v", c[0], c[1], err)
		}
	}
	if _, err := ParseHeader(b[:ltx.HeaderSize-1], 7, 9); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a header that is cut off: %v", err)
	}
}

// A database has at most 4294967294 pages.
func TestParseHeader_Commit(t *testing.T) {
	for commit, ok := range map[uint32]bool{0: false, 1: true, 1<<32 - 2: true, 1<<32 - 1: false} {
		hdr := header(4096, commit, 7, 9)
		b, err := hdr.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHeader(b, 7, 9); (err == nil) != ok {
			t.Errorf("%d pages: %v", commit, err)
		}
	}
}

// A timestamp is between 1970 and the end of the year 9999.
func TestParseHeader_Timestamp(t *testing.T) {
	for timestamp, ok := range map[int64]bool{-1: false, 0: true, maxTimestamp: true, maxTimestamp + 1: false} {
		hdr := header(4096, 1, 7, 9)
		hdr.Timestamp = timestamp
		b, err := hdr.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseHeader(b, 7, 9); (err == nil) != ok {
			t.Errorf("timestamp %d: %v", timestamp, err)
		}
	}
}

// TestIndexEncoder makes the end of a file from its frames, which is the end that the
// reference encoder writes.
func TestIndexEncoder(t *testing.T) {
	for _, pgnos := range [][]uint32{{1}, {1, 2, 3}, {5, 200, 299, 300}} {
		hdr := header(512, 300, 5, 6)
		if pgnos[0] == 1 {
			hdr = header(512, uint32(len(pgnos)), 1, 6)
		}
		b, pages := encode(t, hdr, pgnos)
		f, err := ParseFile(b, hdr.MinTXID, hdr.MaxTXID)
		if err != nil {
			t.Fatal(err)
		}
		var x IndexEncoder
		var sum Sum
		sum.Add(b[:ltx.HeaderSize])
		end := int64(ltx.HeaderSize)
		f.Index.Each(func(e Entry) bool {
			x.Add(e.Pgno, int(e.Size))
			end = e.Offset + int64(e.Size)
			sum.AddFrame(b[e.Offset:end], pages[e.Pgno])
			return true
		})
		if tail, err := x.Tail(hdr, sum); err != nil || !bytes.Equal(tail, b[end:]) {
			t.Errorf("pages %v: the end is %x, %v; want %x", pgnos, tail, err, b[end:])
		}
	}
}
