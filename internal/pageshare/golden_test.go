package pageshare

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/goldenfile"
)

const (
	goldenTable = "shared-2"
	bootOffset  = 24 // of the boot in a table
)

// skipOther skips a test on a system whose tables are not like the golden ones.
func skipOther(t *testing.T) {
	if err := Supported(); err != nil {
		t.Skip("no sharing here:", err)
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("a table has the byte order of the host, and the golden ones are little-endian")
	}
}

var goldenAnchors = []Anchor{
	{Level: 0, MinTXID: 42, MaxTXID: 42, Size: 705, Checksum: 1<<63 | 6},
	{Level: 9, MinTXID: 1, MaxTXID: 41, Size: 12345, Checksum: 1<<63 | 5},
}

// TestTable_Golden reads and writes the table of testdata/formats.
func TestTable_Golden(t *testing.T) {
	skipOther(t)
	path := filepath.Join(t.TempDir(), "pages"+Suffix)
	o, err := Create(path, testID, 512, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if err := o.Room(3); err != nil {
		t.Fatal(err)
	}
	o.Put(1, []ltx.TXID{41, 42})
	o.Compared(2)
	o.Publish(Published{TXID: 42, MarkAt: 1536, Total: 3, Anchors: goldenAnchors})
	o.Note(Progress{Pages: 2, Total: 3, Settled: true})
	o.NoteWrong()
	// What differs from process to process.
	if !o.change(func(h *head) {
		h.boot = [16]byte([]byte("boot of the host"))
		h.generation.Store(0x0102030405060708)
		h.owner.Store(4711)
		h.beat.Store(1_000_000_001)
		h.polled.Store(1_000_000_002)
		h.used.Store(1_000_000_003)
	}) {
		t.Fatal("the table cannot be written")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	goldenfile.Check(t, goldenTable, b)

	b = goldenfile.Read(t, goldenTable)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if table, err := Open(other, testID); !errors.Is(err, ErrNotShared) {
		t.Errorf("a table of another boot: %v, %v", table, err)
	}
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	copy(b[bootOffset:], boot[:])
	if err := os.WriteFile(other, b, 0o600); err != nil {
		t.Fatal(err)
	}
	table, err := Open(other, testID)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	if err := table.Follow(); err != nil {
		t.Fatal(err)
	}
	want := Status{
		State: InUse, Generation: 0x0102030405060708, PageSize: 512, Owner: 4711, Beat: 1_000_000_001, TXID: 42, Polled: 1_000_000_002,
		Progress: Progress{Pages: 2, Total: 3, Settled: true}, Wrong: 1, Turn: 2,
	}
	if s, ok := table.Status(); !ok || s != want {
		t.Errorf("got %+v, %v, want %+v", s, ok, want)
	}
	if anchors, _, _, ok := table.Anchors(); !ok || !slices.Equal(anchors, goldenAnchors) {
		t.Errorf("anchors %+v, %v", anchors, ok)
	}
	for i, want := range []struct {
		version  ltx.TXID
		compared bool
	}{{41, false}, {42, true}, {0, false}} {
		if version, compared := table.Word(uint32(i + 1)); version != want.version || compared != want.compared {
			t.Errorf("page %d: version %d, compared %v, want %+v", i+1, version, compared, want)
		}
	}
}

// TestOpen_OtherFormat opens tables of other formats: the one that an earlier
// version left, and one of a newer version.
func TestOpen_OtherFormat(t *testing.T) {
	skipOther(t)
	for name, b := range map[string][]byte{
		"format 1": goldenfile.Read(t, "hydration-2-early/local.db"+Suffix),
		"format 3": binary.LittleEndian.AppendUint64([]byte(magic), 3),
	} {
		path := filepath.Join(t.TempDir(), "pages"+Suffix)
		b = append(b, make([]byte, max(0, headSize-len(b)))...)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if table, err := Open(path, testID); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, %v", name, table, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != string(b) {
			t.Errorf("%s: the table was changed, %v", name, err)
		}
	}
}
