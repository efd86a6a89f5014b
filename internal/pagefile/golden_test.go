package pagefile

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/ltxvfs/litestream/internal/goldenfile"
)

// TestMark_Golden reads and writes the hydration file of testdata/formats.
func TestMark_Golden(t *testing.T) {
	const size = 2 * 512
	id := ID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	path := filepath.Join(t.TempDir(), "pages")
	f, marked, err := OpenMarked(path, nil)
	if err != nil || marked {
		t.Fatal(marked, err)
	}
	f.mark = newMark(id)
	if err := f.Grow(size); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if err := f.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 512), int64(i)*512); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	goldenfile.Check(t, "pages", b)

	if err := os.WriteFile(path, goldenfile.Read(t, "pages"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, marked, err = OpenMarked(path, nil)
	if err != nil || !marked || f.ID() != id || f.Size() != size || f.MarkAt() != size {
		t.Fatalf("marked %v, id %s, size %d, mark at %d, %v", marked, f.ID(), f.Size(), f.MarkAt(), err)
	}
	defer f.Close()
	page := make([]byte, 512)
	if err := f.ReadAt(page, 512); err != nil || !bytes.Equal(page, bytes.Repeat([]byte{2}, 512)) {
		t.Errorf("page 2 begins with %x, %v", page[:4], err)
	}
}
