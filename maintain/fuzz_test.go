package maintain

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// FuzzPartial reads records of partial restores. What follows the last whole line is
// overwritten, so the end of it lies in the file.
func FuzzPartial(f *testing.F) {
	f.Add([]byte(recordMagic))
	f.Add([]byte(recordMagic + `{"session":7,"begins":true}` + "\n" + `{"session":7,"part":1,"crc":5,"size":512}` + "\n"))
	f.Add([]byte(recordMagic + `{"session":7,"begins":true}` + "\n" + `{"session":8,"part":-9223372036854775808,"wrote":[1,9223372036854775807]}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "a.db"+partialSuffix)
		for _, name := range []string{path, path + recordSuffix} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, err := openPartial(path)
		if err != nil {
			return
		}
		defer func() {
			if err := errors.Join(p.record.Close(), p.data.Close()); err != nil {
				t.Error(err)
			}
		}()
		info, err := os.Stat(path + recordSuffix)
		if err != nil || p.end < 0 || p.end > info.Size() {
			t.Errorf("the record ends at %d, %v", p.end, err)
		}
		for _, w := range p.parts {
			for _, pages := range []int{0, 1, 8, 300} {
				wanted := make([]bool, pages)
				w.hasAll(wanted)
				for i := range wanted {
					wanted[i] = i%3 > 0
				}
				w.hasAll(wanted)
			}
		}
	})
}

// A record may say runs of pages that are longer than any part.
func TestPartial_LongRuns(t *testing.T) {
	for _, runs := range [][]int{{1, math.MaxInt}, {math.MaxInt, math.MaxInt}, {0, 2, math.MaxInt}, {-1}, {math.MinInt, 1}, {4}, {0, 0, 0, 4}} {
		if (written{wrote: runs}).hasAll(make([]bool, 3)) {
			t.Errorf("runs %d have all of 3 pages", runs)
		}
	}
	if !(written{wrote: []int{1, 2}}).hasAll([]bool{false, true, true}) {
		t.Error("the pages that were written are not there")
	}
}
