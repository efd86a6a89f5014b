package litestream

import (
	"testing"

	"github.com/superfly/ltx"
)

// TestPromise8_Compaction bounds what a merge holds, however many files wait.
func TestPromise8_Compaction(t *testing.T) {
	for _, size := range []int64{200, 256 << 10, 1 << 20, 1 << 30} {
		files := make([]*ltx.FileInfo, 400_000)
		for i := range files {
			files[i] = &ltx.FileInfo{MinTXID: ltx.TXID(i + 1), MaxTXID: ltx.TXID(i + 1), Size: size}
		}
		memory := int64(len(atOnce(files))) * min(size, inputPart)
		if memory > inputMemory || memory < inputMemory/2 {
			t.Errorf("files of %d bytes: %d are merged at once", size, len(atOnce(files)))
		}
		if n := len(atOnce(files[:3])); n != 3 {
			t.Errorf("%d of 3 files of %d bytes are merged", n, size)
		}
	}
}

// TestPromise8_SpareMemory keeps little memory of what a connection wrote.
func TestPromise8_SpareMemory(t *testing.T) {
	for _, size := range []int{4 << 10, 500 << 10, 3 << 20} {
		var f tempFile
		if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
			t.Fatal(err)
		}
		if spare := f.spare(); len(spare) != 0 || cap(spare) > maxSpare || size <= maxSpare/2 && cap(spare) < size {
			t.Errorf("%d of %d bytes are kept", cap(spare), size)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
