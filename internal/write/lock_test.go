package write

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/commitlog"
)

// TestBufferLock reads what a killed process noted of its commits: only what
// is proven counts.
func TestBufferLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buffer")
	f, err := os.Create(path + "-00000003")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := commitlog.Create(f, commitlog.Header{PageSize: 512, Number: 3})
	if err != nil {
		t.Fatal(err)
	}
	empty, digest := s.Mark()
	if err := s.Append(&commitlog.Commit{Size: 1, Pgnos: []uint32{1}}, func(int, []byte) error { return nil }); err != nil {
		t.Fatal(err)
	}
	size := s.Size()
	again := func(change func(m *watermark)) *bufferLock {
		t.Helper()
		l, err := openBufferLock(path)
		if err != nil {
			t.Fatal(err)
		}
		m := l.now
		m.number, m.salt, m.end = s.Number, s.Salt(), size
		change(&m)
		if err := l.write(m); err != nil {
			t.Fatal(err)
		}
		if err := l.file.Close(); err != nil {
			t.Fatal(err)
		}
		if l, err = openBufferLock(path); err != nil {
			t.Fatal(err)
		}
		if l.left != m {
			t.Errorf("read %+v, want %+v", l.left, m)
		}
		defer l.file.Close()
		return l
	}
	if bootID() == [16]byte{} {
		t.Skip("this system does not tell one start from another")
	}
	for _, tt := range []struct {
		name    string
		change  func(m *watermark)
		acked   bool
		missing int64
	}{
		{"the end of the last commit", func(*watermark) {}, false, 0},
		{"beyond the last commit", func(m *watermark) { m.end += 100 }, true, 100},
		{"before the last commit", func(m *watermark) { m.end-- }, true, 0},
		{"another start of the machine", func(m *watermark) { m.boot[0]++ }, true, 0},
		{"another start, beyond the last commit", func(m *watermark) { m.boot[0]++; m.end++ }, true, 1},
		{"a copied lock file", func(m *watermark) { m.file++ }, true, 0},
		{"another segment", func(m *watermark) { m.salt++; m.end++ }, true, 0},
		{"another number", func(m *watermark) { m.number++ }, true, 0},
		{"another number, beyond the last commit", func(m *watermark) { m.number++; m.end++ }, true, 0},
	} {
		l := again(tt.change)
		if got := l.wasAcknowledged(s); got != tt.acked {
			t.Errorf("%s: the tail may be acknowledged: %v, want %v", tt.name, got, tt.acked)
		}
		if got := l.missing(s); got != tt.missing {
			t.Errorf("%s: %d bytes are missing, want %d", tt.name, got, tt.missing)
		}
	}
	if err := s.Undo(empty, digest); err != nil {
		t.Fatal(err)
	}
	if l := again(func(m *watermark) { m.number = 2 }); l.wasAcknowledged(s) {
		t.Error("the first commit of a segment may be acknowledged, though the segment before has the last one that was")
	}
	b := watermark{number: 1, end: 5}.encode()
	for i := range b {
		b[i] ^= 1
		if m := parseWatermark(b); m != (watermark{}) {
			t.Errorf("with byte %d damaged it is %+v", i, m)
		}
		b[i] ^= 1
	}
	if m := parseWatermark(b[:lockSize-1]); m != (watermark{}) {
		t.Errorf("cut off it is %+v", m)
	}
}
