package maintain

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestPartial_Clear continues with a file that has pages of an earlier restore, and
// between them a hole of a terabyte, as the file of a replica that claims a huge
// database has. What no file claims becomes zero, and the hole is not filled.
func TestPartial_Clear(t *testing.T) {
	const (
		pageSize = 4096
		far      = 1 << 28 // a page
		last     = far + 100
	)
	f, err := os.Create(filepath.Join(t.TempDir(), "partial"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fill := bytes.Repeat([]byte{7}, pageSize)
	for _, pgno := range []int64{1, 2, 5, far, far + 1} {
		if _, err := f.WriteAt(fill, (pgno-1)*pageSize); err != nil {
			t.Skip("the file system has no files of a terabyte: ", err)
		}
	}
	for offset, b := range map[int64][]byte{
		(far + 1) * pageSize: fill[:100], // page far+2, in part
		4*pageSize - 1:       fill[:1],   // page 4, of which only the last byte is not zero
	} {
		if _, err := f.WriteAt(b, offset); err != nil {
			t.Fatal(err)
		}
	}
	p := &partial{data: f, resumes: true}
	claimed := map[uint32]bool{2: true, far: true, 3: true}
	if err := p.clear(pageSize, last, func(pgno uint32) bool { return claimed[pgno] }); err != nil {
		t.Fatal(err)
	}
	for pgno, want := range map[int64]byte{1: 0, 2: 7, 3: 0, 4: 0, 5: 0, far: 7, far + 1: 0} {
		page := make([]byte, pageSize)
		if _, err := f.ReadAt(page, (pgno-1)*pageSize); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(page, bytes.Repeat([]byte{want}, pageSize)) {
			t.Errorf("page %d begins with %d, want %d", pgno, page[0], want)
		}
	}
	rest := make([]byte, 100)
	if _, err := f.ReadAt(rest, (far+1)*pageSize); err != nil || !isZero(rest) {
		t.Errorf("page %d, of which a part is in the file: %v %v", far+2, rest[0], err)
	}
}

// TestDataAfter_Fails asks a file where its data is that cannot tell. This must not look
// as if there were none, because pages of an earlier restore would stay.
func TestDataAfter_Fails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "partial")
	if err := os.WriteFile(path, make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if start, end, err := dataAfter(f, 0, 100); err == nil && (start > 0 || end < 100) {
		t.Errorf("there is data from %d to %d, want an error", start, end)
	}
}
