package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

// A commit that was undone and could not be cut off is no damage. A commit that is lost is.
func TestSegment_WriteAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := write(t, path, 2)
	size, digest := s.Mark()
	if err := s.Append(&commitlog.Commit{Size: 1, Pgnos: []uint32{1}}, func(int, []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	undone, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Undo(size, digest), os.WriteFile(path, undone, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteAgain(); err != nil {
		t.Error(err)
	}
	if _, commits, tail, err := read(t, path); err != nil || commits != 2 || tail.Size != 0 {
		t.Errorf("%d commits, %d bytes lost, %v", commits, tail.Size, err)
	}
	for name, lose := range map[string]func() error{
		"zeros": func() error {
			return os.WriteFile(path, append(undone[:size-100:size-100], make([]byte, 100)...), 0o600)
		},
		"cut": func() error { return os.Truncate(path, size-100) },
	} {
		if err := errors.Join(os.WriteFile(path, undone, 0o600), lose()); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteAgain(); !errors.Is(err, commitlog.ErrDamaged) {
			t.Errorf("%s: error %v, want ErrDamaged", name, err)
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
