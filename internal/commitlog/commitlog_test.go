package commitlog_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/goldenfile"
	"github.com/ltxvfs/litestream/internal/testscale"
)

const pageSize = 512

var header = commitlog.Header{
	PageSize: pageSize, Format: [2]byte{2, 2}, Number: 7, Base: 41, Before: 99,
	State: commitlog.State{Commit: 10, Timestamp: 1700000000000, Level: 9, MinTXID: 1, MaxTXID: 41, Checksum: 1<<63 | 5},
	Owner: commitlog.Owner{Replica: "s3://bucket/path", Name: "app.db"},
}

// headerSize is the size of the header: 88 bytes, two lengths, the owner and
// the sum.
const headerSize = 88 + 4 + len("s3://bucket/path") + len("app.db") + 8

// fill returns the content of page pgno after the n-th commit.
func fill(n int, pgno uint32) []byte { return bytes.Repeat([]byte{byte(n*31) + byte(pgno)}, pageSize) }

// write creates a segment with commits. The n-th commit changes n+1 pages.
func write(t testing.TB, path string, commits int) *commitlog.Segment {
	t.Helper()
	return writeWith(t, path, commits, commitlog.Create)
}

// writeWith is write with a function that creates the segment.
func writeWith(t testing.TB, path string, commits int, create func(*os.File, commitlog.Header) (*commitlog.Segment, error)) *commitlog.Segment {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	s, err := create(f, header)
	if err != nil {
		t.Fatal(err)
	}
	for n := range commits {
		c := &commitlog.Commit{Timestamp: int64(n), Size: uint32(n + 20)}
		for i := range n + 1 {
			c.Pgnos = append(c.Pgnos, uint32(2*i+1))
		}
		if err := s.Append(c, func(i int, p []byte) error { copy(p, fill(n, c.Pgnos[i])); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// read opens a segment and checks that the pages of its commits have the
// expected content.
func read(t testing.TB, path string) (s *commitlog.Segment, commits int, tail commitlog.Tail, err error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	var all []commitlog.Commit
	s, tail, err = commitlog.Open(f, func(c commitlog.Commit) error {
		all = append(all, c)
		return nil
	})
	if err != nil {
		return nil, 0, tail, err
	}
	for n, c := range all {
		if c.Timestamp != int64(n) || c.Size != uint32(n+20) || len(c.Pgnos) != n+1 {
			t.Errorf("commit %d is %+v", n, c)
		}
		page := make([]byte, pageSize)
		for i, pgno := range c.Pgnos {
			if err := s.ReadPage(pgno, s.PageOffset(&c, i), page); err != nil || !bytes.Equal(page, fill(n, pgno)) {
				t.Errorf("page %d of commit %d is not what was written, %v", pgno, n, err)
			}
		}
	}
	return s, len(all), tail, nil
}

func TestSegment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	written := write(t, path, 19)
	s, commits, tail, err := read(t, path)
	if err != nil || commits != 19 || tail.Size != 0 || s.Header != header {
		t.Errorf("%d commits, %d bytes lost, %v, header %+v", commits, tail.Size, err, s.Header)
	}
	if s.Sum() != written.Sum() || s.Size() != written.Size() || s.IsEmpty() {
		t.Errorf("sum %x, size %d, want %x, %d", s.Sum(), s.Size(), written.Sum(), written.Size())
	}
	// A segment that was opened can be appended to.
	c := &commitlog.Commit{Timestamp: 19, Size: 39, Pgnos: []uint32{1}}
	for i := range 19 {
		c.Pgnos = append(c.Pgnos, uint32(2*i+3))
	}
	if err := s.Append(c, func(i int, p []byte) error { copy(p, fill(19, c.Pgnos[i])); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, commits, _, err = read(t, path); err != nil || commits != 20 {
		t.Errorf("%d commits, %v, want 20", commits, err)
	}
}

// TestSegment_CutOff cuts a segment off at every length. Open must find all
// complete commits, and say why the bytes after them are none.
func TestSegment_CutOff(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	whole := write(t, path, 3)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for n := range len(b) + 1 {
		cut := filepath.Join(dir, "cut")
		if err := os.WriteFile(cut, b[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(cut, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		commits := 0
		s, tail, err := commitlog.Open(f, func(commitlog.Commit) error { commits++; return nil })
		switch {
		case n < headerSize:
			if want := map[bool]error{true: commitlog.ErrNoHeader, false: commitlog.ErrDamaged}[n == 0]; !errors.Is(err, want) {
				t.Fatalf("%d bytes: %v", n, err)
			}
			commits = -1
		case err != nil || s.Size()+tail.Size != int64(n):
			t.Fatalf("%d bytes: %d and %d lost, %v", n, s.Size(), tail.Size, err)
		case (tail.Err != nil) != (tail.Size > 0):
			t.Fatalf("%d bytes: %d lost for the reason %v", n, tail.Size, tail.Err)
		case commits < last || commits > last+1:
			t.Fatalf("%d bytes: %d commits after %d", n, commits, last)
		}
		last = commits
		_ = f.Close()
	}
	if last != 3 || whole.Size() != int64(len(b)) {
		t.Errorf("%d commits in %d of %d bytes", last, whole.Size(), len(b))
	}
}

// TestSegment_Flipped changes every byte. No commit from that byte on may be
// valid.
func TestSegment_Flipped(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	write(t, path, 3)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int{headerSize, headerSize + 16 + pageSize + 32}
	ends = append(ends, ends[1]+2*(16+pageSize)+32, len(b))
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 0x10
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		commits := 0
		_, _, err = commitlog.Open(f, func(commitlog.Commit) error { commits++; return nil })
		_ = f.Close()
		want := -1
		for k, end := range ends {
			if i >= end {
				want = k
			}
		}
		if want < 0 && !errors.Is(err, commitlog.ErrDamaged) && !errors.Is(err, commitlog.ErrVersion) || want >= 0 && (err != nil || commits != want) {
			t.Fatalf("byte %d: %d commits, %v, want %d", i, commits, err, want)
		}
	}
}

// TestSegment_Failed makes a commit fail half way. The next commit replaces it.
func TestSegment_Failed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := write(t, path, 2)
	errBoom := errors.New("boom")
	c := &commitlog.Commit{Timestamp: 2, Size: 22}
	for i := range 3000 {
		c.Pgnos = append(c.Pgnos, uint32(2*i+1))
	}
	err := s.Append(c, func(i int, _ []byte) error {
		if i == 2500 {
			return errBoom
		}
		return nil
	})
	if !errors.Is(err, errBoom) {
		t.Fatal(err)
	}
	size, digest := s.Mark()
	for range 2 {
		c = &commitlog.Commit{Timestamp: 2, Size: 22, Pgnos: []uint32{1, 3, 5}}
		if err := s.Append(c, func(i int, p []byte) error { copy(p, fill(2, c.Pgnos[i])); return nil }); err != nil {
			t.Fatal(err)
		}
		if _, commits, tail, err := read(t, path); err != nil || commits != 3 || tail.Size != 0 {
			t.Errorf("%d commits, %d bytes lost, %v", commits, tail.Size, err)
		}
		if err := s.Undo(size, digest); err != nil {
			t.Fatal(err)
		}
		if _, commits, tail, err := read(t, path); err != nil || commits != 2 || tail.Size != 0 {
			t.Errorf("%d commits, %d bytes lost, %v", commits, tail.Size, err)
		}
	}
}

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

// TestSegment_Memory appends commits. They use the memory of those before.
func TestSegment_Memory(t *testing.T) {
	testscale.NeedsNoRace(t, testscale.OneGoroutine)
	s := write(t, filepath.Join(t.TempDir(), "a"), 0)
	c := &commitlog.Commit{Size: 100}
	for i := range uint32(100) {
		c.Pgnos = append(c.Pgnos, i+1)
	}
	appended := func() {
		if err := s.Append(c, func(int, []byte) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(20, appended); n > 5 {
		t.Errorf("%v allocations for a commit of %d pages", n, len(c.Pgnos))
	}
}

// TestSegment_CopyTo copies a segment with what comes after its last commit.
func TestSegment_CopyTo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := write(t, path, 2)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, "a tail"...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if err := s.CopyTo(&copied); err != nil || !bytes.Equal(copied.Bytes(), b) {
		t.Errorf("%d of %d bytes, %v", copied.Len(), len(b), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied.Reset()
	if err := s.CopyTo(&copied); !errors.Is(err, os.ErrClosed) || copied.Len() > 0 {
		t.Errorf("%d bytes of a closed segment, %v", copied.Len(), err)
	}
}

// TestCreate_OwnerText creates segments whose owner has the longest texts, and
// longer ones.
func TestCreate_OwnerText(t *testing.T) {
	long, tooLong := strings.Repeat("a", commitlog.MaxOwnerText), strings.Repeat("b", commitlog.MaxOwnerText+1)
	for _, c := range []struct {
		owner commitlog.Owner
		ok    bool
	}{
		{commitlog.Owner{Replica: long, Name: long}, true},
		{commitlog.Owner{Replica: tooLong}, false},
		{commitlog.Owner{Name: tooLong}, false},
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "a"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		h := header
		h.Owner = c.owner
		if _, err = commitlog.Create(f, h); (err == nil) != c.ok {
			t.Errorf("texts of %d and %d bytes: %v", len(c.owner.Replica), len(c.owner.Name), err)
		}
		if !c.ok {
			continue
		}
		if s, _, err := commitlog.Open(f, func(commitlog.Commit) error { return nil }); err != nil || s.Header != h {
			t.Errorf("texts of %d and %d bytes are not what is read: %v", len(c.owner.Replica), len(c.owner.Name), err)
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

// TestSegment_Misplaced writes a block of the file to another place, as a
// faulty disk might. No page in it may be valid.
func TestSegment_Misplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := write(t, path, 3)
	var all []commitlog.Commit
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := commitlog.Open(f, func(c commitlog.Commit) error { all = append(all, c); return nil }); err != nil {
		t.Fatal(err)
	}
	const record = 16 + pageSize
	// Both records contain the same page number.
	from, to := s.PageOffset(&all[1], 0)-16, s.PageOffset(&all[2], 0)-16
	b := make([]byte, record)
	if _, err := f.ReadAt(b, from); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, to); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadPage(1, to+16, b[:pageSize]); !errors.Is(err, commitlog.ErrDamaged) {
		t.Errorf("a page of another place: %v", err)
	}
	if err := s.ReadPage(3, from+16, b[:pageSize]); !errors.Is(err, commitlog.ErrDamaged) {
		t.Errorf("a page of another number: %v", err)
	}
	if err := s.ReadPage(1, from+16, b[:pageSize]); err != nil {
		t.Errorf("a page where it was written: %v", err)
	}
	if err := f.Truncate(to + 20); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadPage(1, to+16, b[:pageSize]); !errors.Is(err, commitlog.ErrDamaged) {
		t.Errorf("a page that was cut off: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "a")
	write(f, path, 2)
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:200])
	f.Add(goldenfile.Read(f, "segment-1"))
	f.Add(goldenfile.Read(f, "segment-2"))
	f.Add(make([]byte, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "a")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var all []commitlog.Commit
		s, tail, err := commitlog.Open(file, func(c commitlog.Commit) error { all = append(all, c); return nil })
		if err != nil {
			return
		}
		if s.Size()+tail.Size != int64(len(b)) {
			t.Errorf("%d and %d of %d bytes", s.Size(), tail.Size, len(b))
		}
		page := make([]byte, s.PageSize)
		for _, c := range all {
			for i, pgno := range c.Pgnos {
				if pgno == 0 || pgno > c.Size {
					t.Errorf("page %d of %d", pgno, c.Size)
				}
				if err := s.ReadPage(pgno, s.PageOffset(&c, i), page); err != nil {
					t.Errorf("page %d: %v", pgno, err)
				}
			}
		}
	})
}

func ExampleSegment() {
	f, err := os.CreateTemp("", "commitlog-*")
	if err != nil {
		panic(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	s, err := commitlog.Create(f, commitlog.Header{PageSize: 512, Number: 1})
	if err != nil {
		panic(err)
	}
	c := &commitlog.Commit{Size: 2, Pgnos: []uint32{1, 2}}
	if err := s.Append(c, func(i int, p []byte) error { p[0] = byte(i); return nil }); err != nil {
		panic(err)
	}
	_, _, err = commitlog.Open(f, func(c commitlog.Commit) error {
		fmt.Println(c.Size, c.Pgnos)
		return nil
	})
	fmt.Println(err)
	// Output:
	// 2 [1 2]
	// <nil>
}
