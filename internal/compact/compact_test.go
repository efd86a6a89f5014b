package compact

import (
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// TestPromise8_Compaction bounds what a merge holds, however many files wait.
func TestPromise8_Compaction(t *testing.T) {
	for _, size := range []int64{200, 256 << 10, 1 << 20, 1 << 30} {
		files := make([]*ltx.FileInfo, 400_000)
		for i := range files {
			files[i] = &ltx.FileInfo{MinTXID: ltx.TXID(i + 1), MaxTXID: ltx.TXID(i + 1), Size: size}
		}
		n := len(AtOnce(files))
		memory := int64(n) * min(size, inputPart)
		if n > MostInputs || memory > inputMemory || memory < inputMemory/2 && n < MostInputs {
			t.Errorf("files of %d bytes: %d are merged at once", size, n)
		}
		if n := len(AtOnce(files[:3])); n != 3 {
			t.Errorf("%d of 3 files of %d bytes are merged", n, size)
		}
	}
}

// TestCompaction_Outgrown says when a snapshot is due.
func TestCompaction_Outgrown(t *testing.T) {
	for _, tc := range []struct {
		base  int64
		above []int64 // how many files, of how many bytes each
		want  bool
	}{
		{base: 0, above: []int64{0, 0}, want: false},
		{base: 100, above: []int64{10, 1000}, want: false}, // so little does not matter
		{base: 100, above: []int64{11, 100_000}, want: true},
		{base: 100, above: []int64{1, 1 << 20}, want: false},
		{base: 100, above: []int64{1, 1<<20 + 1}, want: true},
		{base: 2 << 20, above: []int64{2, 1 << 20}, want: false},
		{base: 2 << 20, above: []int64{3, 1 << 20}, want: true},
		{base: 1 << 40, above: []int64{1000, 100}, want: false},
		{base: 1 << 40, above: []int64{1001, 100}, want: true},
	} {
		plan := []*ltx.FileInfo{{Size: tc.base}}
		for range tc.above[0] {
			plan = append(plan, &ltx.FileInfo{Size: tc.above[1]})
		}
		if got := view.IsOutgrown(plan); got != tc.want {
			t.Errorf("%d files of %d bytes above %d: %v", tc.above[0], tc.above[1], tc.base, got)
		}
	}
	if view.IsOutgrown(nil) {
		t.Error("nothing is outgrown")
	}
}
