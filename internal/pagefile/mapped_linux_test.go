package pagefile_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/internal/pagefile"
)

// readCalls returns how many system calls the process has made to read.
func readCalls(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skipf("the system does not count reads: %v", err)
	}
	var chars int
	if _, err := fmt.Sscanf(string(text), "rchar: %d\nwchar: %d\nsyscr: %d", &chars, &chars, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFile_NoSystemCalls reads pages of files of several maps, wherever they are.
func TestFile_NoSystemCalls(t *testing.T) {
	f, err := pagefile.Open(filepath.Join(t.TempDir(), "pages"), nil)
	if err != nil {
		t.Fatal(err)
	}
	noSystemCalls(t, f)
	if f, _, err = pagefile.OpenMarked(filepath.Join(t.TempDir(), "pages"), nil); err != nil {
		t.Fatal(err)
	}
	noSystemCalls(t, f)
}

func noSystemCalls(t *testing.T, f *pagefile.File) {
	t.Helper()
	defer f.Close()
	const segment, reads = 64 << 20, 300
	for i := range int64(3) {
		if err := f.Grow((i + 1) * segment); err != nil {
			t.Fatal(err)
		}
	}
	at := func(i int) int64 { return int64(i) * (3*segment - 8) / reads }
	for i := range reads + 1 {
		if err := f.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(i)+1), at(i)); err != nil {
			t.Fatal(err)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if n := strings.Count(string(maps), f.Path()); err != nil || n < 1 || n > 4 {
		t.Errorf("%d maps of a file of three segments and maybe a mark, %v", n, err) // the system joins those that are adjacent
	}
	before := readCalls(t)
	var p [8]byte
	for i := range reads + 1 {
		if err := f.ReadAt(p[:], at(i)); err != nil || binary.BigEndian.Uint64(p[:]) != uint64(i)+1 {
			t.Fatalf("at %d: %x, %v", at(i), p, err)
		}
	}
	if n := readCalls(t) - before; n > reads/2 {
		t.Errorf("%d reads take %d system calls", reads, n)
	}
	for off := range int64(8) {
		if err := f.ReadAt(p[:1], off); err != nil || p[0] != byte(off)/7 {
			t.Errorf("byte %d is %d, %v", off, p[0], err)
		}
	}
}
