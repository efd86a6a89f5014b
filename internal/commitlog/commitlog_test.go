package commitlog_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

const pageSize = 512

var header = commitlog.Header{
	PageSize: pageSize, Format: [2]byte{2, 2}, Number: 7, Base: 41, Before: 99,
	State: commitlog.State{Commit: 10, Timestamp: 1700000000000, Level: 9, MinTXID: 1, MaxTXID: 41, Checksum: 1<<63 | 5},
}

// fill is what page pgno is full of after the n-th commit.
func fill(n int, pgno uint32) []byte { return bytes.Repeat([]byte{byte(n*31) + byte(pgno)}, pageSize) }

// write makes a segment of commits, of which the n-th changes n+1 pages.
func write(t testing.TB, path string, commits int) *commitlog.Segment {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	s, err := commitlog.Create(f, header)
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

// read opens a segment and checks that the pages of its commits are as written.
func read(t testing.TB, path string) (s *commitlog.Segment, commits int, lost int64, err error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	var all []commitlog.Commit
	s, lost, err = commitlog.Open(f, func(c commitlog.Commit) error {
		all = append(all, c)
		return nil
	})
	if err != nil {
		return nil, 0, 0, err
	}
	for n, c := range all {
		if c.Timestamp != int64(n) || c.Size != uint32(n+20) || len(c.Pgnos) != n+1 {
			t.Errorf("commit %d is %+v", n, c)
		}
		page := make([]byte, pageSize)
		for i, pgno := range c.Pgnos {
			if err := s.ReadAt(page, s.PageOffset(&c, i)); err != nil || !bytes.Equal(page, fill(n, pgno)) {
				t.Errorf("page %d of commit %d is not what was written, %v", pgno, n, err)
			}
		}
	}
	return s, len(all), lost, nil
}

func TestSegment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	written := write(t, path, 19)
	s, commits, lost, err := read(t, path)
	if err != nil || commits != 19 || lost != 0 || s.Header != header {
		t.Errorf("%d commits, %d bytes lost, %v, header %+v", commits, lost, err, s.Header)
	}
	if s.Sum() != written.Sum() || s.Size() != written.Size() || s.IsEmpty() {
		t.Errorf("sum %x, size %d, want %x, %d", s.Sum(), s.Size(), written.Sum(), written.Size())
	}
	// A segment that was opened goes on.
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

// TestSegment_CutOff cuts a segment off at every length: what is whole is found.
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
		s, lost, err := commitlog.Open(f, func(commitlog.Commit) error { commits++; return nil })
		switch {
		case n < 96:
			if !errors.Is(err, commitlog.ErrNoHeader) {
				t.Fatalf("%d bytes: %v", n, err)
			}
			commits = -1
		case err != nil || s.Size()+lost != int64(n):
			t.Fatalf("%d bytes: %d and %d lost, %v", n, s.Size(), lost, err)
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

// TestSegment_Flipped changes every byte: no commit from there on counts.
func TestSegment_Flipped(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	write(t, path, 3)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int{96, 96 + 8 + pageSize + 32}
	ends = append(ends, ends[1]+2*(8+pageSize)+32, len(b))
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
		if want < 0 && err == nil || want >= 0 && (err != nil || commits != want) {
			t.Fatalf("byte %d: %d commits, %v, want %d", i, commits, err, want)
		}
	}
}

// TestSegment_Failed has a commit fail half way: the next one takes its place.
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
		if _, commits, lost, err := read(t, path); err != nil || commits != 3 || lost != 0 {
			t.Errorf("%d commits, %d bytes lost, %v", commits, lost, err)
		}
		if err := s.Undo(size, digest); err != nil {
			t.Fatal(err)
		}
		if _, commits, lost, err := read(t, path); err != nil || commits != 2 || lost != 0 {
			t.Errorf("%d commits, %d bytes lost, %v", commits, lost, err)
		}
	}
}

func TestOpen_NewerVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, 1)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[7]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := read(t, path); !errors.Is(err, commitlog.ErrVersion) {
		t.Errorf("got %v", err)
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
		s, lost, err := commitlog.Open(file, func(c commitlog.Commit) error { all = append(all, c); return nil })
		if err != nil {
			return
		}
		if s.Size()+lost != int64(len(b)) {
			t.Errorf("%d and %d of %d bytes", s.Size(), lost, len(b))
		}
		page := make([]byte, s.PageSize)
		for _, c := range all {
			for i, pgno := range c.Pgnos {
				if pgno == 0 || pgno > c.Size {
					t.Errorf("page %d of %d", pgno, c.Size)
				}
				if err := s.ReadAt(page, s.PageOffset(&c, i)); err != nil {
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
