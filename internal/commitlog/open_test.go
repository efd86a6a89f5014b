package commitlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/goldenfile"
)

// TestSegment_Impossible appends commits that no database has. Open ends before them, and
// says that there is something.
func TestSegment_Impossible(t *testing.T) {
	lock := uint32(0x40000000/pageSize + 1)
	for name, c := range map[string]struct {
		size  uint32
		pgnos []uint32
		ok    bool
	}{
		"pages in order":      {100, []uint32{1, 2, 100}, true},
		"no page":             {100, nil, true},
		"page 0":              {100, []uint32{0, 1}, false},
		"a page twice":        {100, []uint32{1, 2, 2}, false},
		"the wrong order":     {100, []uint32{1, 3, 2}, false},
		"beyond the size":     {100, []uint32{1, 101}, false},
		"no size":             {0, nil, false},
		"no size, with pages": {0, []uint32{1}, false},
		"around the lock":     {lock + 1, []uint32{lock - 1, lock + 1}, true},
		"the lock page":       {lock + 1, []uint32{lock}, false},
	} {
		path := filepath.Join(t.TempDir(), "a")
		s := write(t, path, 2)
		size := s.Size()
		if err := s.Append(&commitlog.Commit{Size: c.size, Pgnos: c.pgnos}, func(int, []byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		commits := 0
		again, tail, err := commitlog.Open(f, func(commitlog.Commit) error { commits++; return nil })
		want := map[bool]int{true: 3, false: 2}[c.ok]
		if err != nil || commits != want || tail.HasData() == c.ok || (tail.Err == nil) != c.ok || !c.ok && again.Size() != size {
			t.Errorf("%s: %d commits, %d bytes lost, %v, %v", name, commits, tail.Size, tail.Err, err)
		}
	}
}

// TestOpen_OwnerLengths opens segments whose headers say that the texts of the owner are
// longer than they can be, or go beyond the file. Their sums are right.
func TestOpen_OwnerLengths(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, 0)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fixed, sum := len(whole)-8-len("app.db")-len("s3://bucket/path")-4, 8
	for _, lens := range [][2]int{{0, 0}, {5, 6}, {commitlog.MaxOwnerText, 0}, {commitlog.MaxOwnerText + 1, 0}, {0, commitlog.MaxOwnerText + 1}, {1 << 15, 1 << 15}} {
		b := binary.BigEndian.AppendUint16(slices.Clone(whole[:fixed]), uint16(lens[0]))
		b = binary.BigEndian.AppendUint16(b, uint16(lens[1]))
		b = append(b, strings.Repeat("x", lens[0]+lens[1])...)
		b = binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
		for _, cut := range []int{0, 1, sum, sum + 1} {
			if err := os.WriteFile(path, b[:len(b)-cut], 0o600); err != nil {
				t.Fatal(err)
			}
			ok := cut == 0 && max(lens[0], lens[1]) <= commitlog.MaxOwnerText
			s, _, _, err := read(t, path)
			if (err == nil) != ok || err != nil && !errors.Is(err, commitlog.ErrDamaged) {
				t.Errorf("texts of %v bytes, %d cut off: %v", lens, cut, err)
			}
			if ok && (len(s.Owner.Replica) != lens[0] || len(s.Owner.Name) != lens[1]) {
				t.Errorf("texts of %v bytes: %+v", lens, s.Owner)
			}
		}
	}
}

// TestSegment_AfterTail appends to a segment whose last commit was cut off in the middle.
// What was read of it does not count.
func TestSegment_AfterTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	whole := write(t, path, 2)
	ends := whole.Size()
	c := &commitlog.Commit{Timestamp: 2, Size: 22, Pgnos: []uint32{1, 3, 5}}
	third := func(i int, p []byte) error { copy(p, fill(2, c.Pgnos[i])); return nil }
	if err := whole.Append(c, third); err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int64{1, 20, 31, 33, pageSize, 2 * pageSize} {
		if err := os.Truncate(path, whole.Size()-cut); err != nil {
			t.Fatal(err)
		}
		s, commits, tail, err := read(t, path)
		if err != nil || commits != 2 || tail.Size != whole.Size()-cut-ends {
			t.Fatalf("%d bytes cut off: %d commits, %d bytes after them, %v", cut, commits, tail.Size, err)
		}
		if err := errors.Join(s.Cut(), s.Append(c, third)); err != nil {
			t.Fatal(err)
		}
		if s, commits, tail, err := read(t, path); err != nil || commits != 3 || tail.Size != 0 || s.Sum() != whole.Sum() {
			t.Errorf("%d bytes cut off, and written again: %d commits, %d bytes after them, %v", cut, commits, tail.Size, err)
		}
	}
}

// TestOpen_Count opens a segment whose commit says another number of pages than it has,
// with a right sum.
func TestOpen_Count(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, 1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for count, want := range map[uint32]int{0: 0, 1: 1, 2: 0, 1 << 31: 0} {
		record := headerSize + 16 + pageSize
		binary.BigEndian.PutUint32(b[record+4:], count)
		var d xxhash.Digest
		d.Reset()
		_, _ = d.Write(b[:headerSize+16]) // and the head of the page
		_, _ = d.Write(b[record : record+24])
		binary.BigEndian.PutUint64(b[record+24:], d.Sum64())
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, commits, tail, err := read(t, path); err != nil || commits != want || tail.HasData() != (want == 0) {
			t.Errorf("%d pages of one: %d commits, %d bytes after them, %v", count, commits, tail.Size, err)
		}
	}
}

// A file that does not begin like a segment is none, however short it is.
func TestOpen_Foreign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	for _, n := range []int{1, 6, 7, 8, 50, 87, 88, 95, 96, 97, 200, 10_000} {
		for _, first := range []byte{'x', 'L', 'l', 'S'} {
			b := bytes.Repeat([]byte("foreign "), n/8+1)[:n]
			b[0] = first
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := read(t, path); !errors.Is(err, commitlog.ErrInvalid) && (n > 1 || !errors.Is(err, commitlog.ErrDamaged)) {
				t.Errorf("%d bytes that begin with %q: %v", n, first, err)
			}
		}
	}
}

// A commit whose page cannot be written, or read again, is an error.
func TestSegment_ClosedFile(t *testing.T) {
	for _, name := range []string{"segment-1", "segment-2"} {
		path := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(path, goldenfile.Read(t, name), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var last commitlog.Commit
		s, _, err := commitlog.Open(f, func(c commitlog.Commit) error { last = c; return nil })
		if err != nil {
			t.Fatal(err)
		}
		at, page := s.PageOffset(&last, 0), make([]byte, s.PageSize)
		if err := s.ReadPage(last.Pgnos[0], at, page); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Truncate(path, at+10); err != nil {
			t.Fatal(err)
		}
		if err := s.ReadPage(last.Pgnos[0], at, page); !errors.Is(err, commitlog.ErrDamaged) {
			t.Errorf("%s, cut off: %v", name, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.ReadPage(last.Pgnos[0], at, page); !errors.Is(err, os.ErrClosed) || errors.Is(err, commitlog.ErrDamaged) {
			t.Errorf("%s, closed: %v", name, err)
		}
	}
	s := write(t, filepath.Join(t.TempDir(), "a"), 1)
	size := s.Size()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, pages := range []int{1, 3, 5000} { // also more than are written at a time
		c := &commitlog.Commit{Size: 10_000}
		for i := range pages {
			c.Pgnos = append(c.Pgnos, uint32(i)+1)
		}
		calls := 0
		if err := s.Append(c, func(int, []byte) error { calls++; return nil }); !errors.Is(err, os.ErrClosed) || s.Size() != size {
			t.Errorf("%d pages: %v, the segment has %d bytes, want %d", pages, err, s.Size(), size)
		}
		if pages == 5000 && calls == pages {
			t.Errorf("all of %d pages are made after the first write failed", calls)
		}
	}
}

func TestTail_HasData(t *testing.T) {
	for tail, want := range map[commitlog.Tail]bool{{}: false, {Zeros: true}: false, {Size: 1, Zeros: true}: false, {Size: 1}: true} {
		if tail.HasData() != want {
			t.Errorf("%+v: %v", tail, !want)
		}
	}
}

// TestOpen_Golden reads the segment of testdata/formats, and writes it again.
func TestOpen_Golden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	writeWith(t, path, 3, func(f *os.File, h commitlog.Header) (*commitlog.Segment, error) {
		return commitlog.CreateWithSalt(f, h, [8]byte([]byte("saltsalt")))
	})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	goldenfile.Check(t, "segment-2", b)
	if err := os.WriteFile(path, goldenfile.Read(t, "segment-2"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, commits, tail, err := read(t, path)
	if err != nil || commits != 3 || tail.Size != 0 || s.Header != header {
		t.Errorf("%d commits, %d bytes lost, %v, header %+v", commits, tail.Size, err, s.Header)
	}
}

// TestOpen_NewerVersion opens a segment that says another version. If the rest of
// its header is right for a known version, only the number is damaged.
func TestOpen_NewerVersion(t *testing.T) {
	for _, name := range []string{"segment-1", "segment-2"} {
		for _, damaged := range []bool{true, false} {
			b := goldenfile.Read(t, name)
			want := commitlog.ErrDamaged
			b[7] = 3
			if !damaged {
				want = commitlog.ErrVersion
				b[20]++ // the header of a newer version has another sum
			}
			path := filepath.Join(t.TempDir(), "a")
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := read(t, path); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", name, err, want)
			}
		}
	}
}

// TestOpen_TornHeader opens a segment of whose header a crash left the first bytes
// only.
func TestOpen_TornHeader(t *testing.T) {
	for _, name := range []string{"segment-1", "segment-2"} {
		b := goldenfile.Read(t, name)
		for kept := 1; kept < 90; kept++ {
			torn := make([]byte, len(b))
			copy(torn, b[:kept])
			path := filepath.Join(t.TempDir(), "a")
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := read(t, path); !errors.Is(err, commitlog.ErrDamaged) && !errors.Is(err, commitlog.ErrInvalid) {
				t.Errorf("%s, %d bytes: %v", name, kept, err)
			}
		}
	}
}

// TestOpen_OldVersion reads a segment of version 1.
func TestOpen_OldVersion(t *testing.T) {
	b := goldenfile.Read(t, "segment-1")
	path := filepath.Join(t.TempDir(), "a")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	want := header
	want.Owner = commitlog.Owner{}
	s, commits, tail, err := read(t, path)
	if err != nil || commits != 3 || tail.Size != 0 || s.Header != want {
		t.Fatalf("%d commits, %d bytes lost, %v, header %+v", commits, tail.Size, err, s.Header)
	}
	if err := s.Append(&commitlog.Commit{Size: 9}, nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("append to version 1: %v", err)
	}
	for i := range b {
		if i > 120 && i%13 != 0 {
			continue // each is a file that stays open until the end of the test
		}
		bad := slices.Clone(b)
		bad[i] ^= 0x20
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, commits, tail, err := read(t, path); err == nil && (commits == 3 || !tail.HasData()) {
			t.Fatalf("byte %d: %d commits, %d bytes of a tail", i, commits, tail.Size)
		}
	}
}
