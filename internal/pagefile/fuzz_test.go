package pagefile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzOpenMarked opens local files of any bytes. A file with a mark keeps its ID, and
// reads are bounded by what lies before the mark.
func FuzzOpenMarked(f *testing.F) {
	m := newMark(ID{1, 2, 3})
	f.Add(append(make([]byte, 512), m.text[:]...), int64(0))
	f.Add(append(make([]byte, 511), m.text[:MarkSize-1]...), int64(500))
	f.Add(m.text[:], int64(-1))
	f.Add([]byte{}, int64(1<<62))
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		path := filepath.Join(t.TempDir(), "pages")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		id, known := IDAt(path)
		file, isMarked, err := OpenMarked(path, nil)
		if err != nil {
			return
		}
		defer file.Close()
		if isMarked && (!known || file.ID() != id) {
			t.Errorf("the ID is %s, and %s, %v at the path", file.ID(), id, known)
		}
		if at < 0 {
			return
		}
		p := make([]byte, 64)
		_ = file.ReadAt(p, at)
		_ = file.ReadShared(p, at%4096, at)
		if err := errors.Join(file.Grow(at%8192+64), file.WriteAt(p, at%8192)); err != nil {
			t.Error(err)
		}
		if err := file.ReadAt(p, at%8192); err != nil {
			t.Errorf("read of what was written at %d: %v", at%8192, err)
		}
	})
}
