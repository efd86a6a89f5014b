package maintain

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/goldenfile"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/pagefile"
)

// goldenParts are the parts that the records of testdata/formats list.
var goldenParts = map[partOf]written{
	{"9/0000000000000001-0000000000000029.ltx", 1<<63 | 5, 0}: {sum: ltxio.SumOf(1<<60, 4096)},
	{"9/0000000000000001-0000000000000029.ltx", 1<<63 | 5, 1}: {sum: ltxio.SumOf(2, 12345), wrote: []int{0, 5, 2, 1}},
	{"0/000000000000002a-000000000000002a.ltx", 1<<63 | 6, 0}: {sum: ltxio.SumOf(3, 705)},
}

// writeGolden writes the record of a restore that was interrupted.
func writeGolden(t *testing.T, path string) {
	t.Helper()
	p, err := openPartial(path)
	if err != nil {
		t.Fatal(err)
	}
	// The session is not random.
	p.session, p.end = 0x0102030405060708, 0
	if err := p.record.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := p.begin(); err != nil {
		t.Fatal(err)
	}
	snapshot := &content{info: &ltx.FileInfo{Level: 9, MinTXID: 1, MaxTXID: 41}, trailer: ltx.Trailer{FileChecksum: 1<<63 | 5}}
	single := &content{info: &ltx.FileInfo{Level: 0, MinTXID: 42, MaxTXID: 42}, trailer: ltx.Trailer{FileChecksum: 1<<63 | 6}}
	for _, part := range []struct {
		of     *content
		number int
		wrote  []bool
	}{
		{snapshot, 0, []bool{true, true}},
		{snapshot, 1, []bool{true, true, true, true, true, false, false, true}},
		{single, 0, []bool{true}},
	} {
		if err := p.done(part.of, part.number, goldenParts[part.of.part(part.number)].sum, part.wrote); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.abandon(false); err != nil {
		t.Fatal(err)
	}
}

// TestPartial_Golden reads and writes the record of testdata/formats.
func TestPartial_Golden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "partial")
	writeGolden(t, path)
	b, err := os.ReadFile(path + recordSuffix)
	if err != nil {
		t.Fatal(err)
	}
	goldenfile.Check(t, "restore-3", b)
	if got, _, _ := parseRecord(goldenfile.Read(t, "restore-3")); !reflect.DeepEqual(got, goldenParts) {
		t.Errorf("got %+v", got)
	}
}

// TestPartial_Damaged changes each byte of a record. It lists no part then that was
// not written: such pages would be zeros in the database, and no checksum tells.
func TestPartial_Damaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "partial")
	writeGolden(t, path)
	b, err := os.ReadFile(path + recordSuffix)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for _, bit := range []byte{1, 4} {
			b[i] ^= bit
			parts, _, _ := parseRecord(b)
			for part, w := range parts {
				if !reflect.DeepEqual(goldenParts[part], w) {
					t.Errorf("byte %d: a part is %+v %+v", i, part, w)
				}
			}
			b[i] ^= bit
		}
	}
}

// TestPartial_Cut cuts a record at each byte, as a write that was interrupted leaves it.
// Only whole lines count, so what is written next begins a line.
func TestPartial_Cut(t *testing.T) {
	b := goldenfile.Read(t, "restore-3")
	for size := range len(b) {
		parts, end, _ := parseRecord(b[:size])
		if end > int64(size) || end > 0 && b[end-1] != '\n' {
			t.Errorf("of %d bytes, %d count", size, end)
		}
		for part, w := range parts {
			if !reflect.DeepEqual(goldenParts[part], w) {
				t.Errorf("of %d bytes, a part is %+v %+v", size, part, w)
			}
		}
	}
}

// TestRun_Zeros adds a page of zeros where an earlier restore has left something else. It
// has to be written, also if holes are wanted.
func TestRun_Zeros(t *testing.T) {
	const pageSize = 512
	path := filepath.Join(t.TempDir(), "partial")
	if err := os.WriteFile(path, bytes.Repeat([]byte{7}, 3*pageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var w run
	w.begin(&partial{data: f, resumes: true}, pageSize, true)
	if err := errors.Join(w.add(2, make([]byte, pageSize)), w.flush()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []byte{7, 0, 7} {
		if !bytes.Equal(b[i*pageSize:][:pageSize], bytes.Repeat([]byte{want}, pageSize)) {
			t.Errorf("page %d begins with %d, want %d", i+1, b[i*pageSize], want)
		}
	}
}

// TestPartial_RecordFails has a record that can be neither read nor written. A restore
// must not go on as if it had one.
func TestPartial_RecordFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "partial")
	writeGolden(t, path)
	p, err := openPartial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.data.Close()
	if err := p.record.Close(); err != nil {
		t.Fatal(err)
	}
	single := &content{info: &ltx.FileInfo{Level: 0, MinTXID: 42, MaxTXID: 42}, trailer: ltx.Trailer{FileChecksum: 1<<63 | 6}}
	for name, call := range map[string]func() error{
		"read": p.read, "begin": p.begin, "keep": func() error { return p.keep(goldenParts) }, "create": p.create,
		"done": func() error { return p.done(single, 0, ltxio.SumOf(3, 705), []bool{true}) },
	} {
		if err := call(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: error %v, want fs.ErrClosed", name, err)
		}
	}
}

// TestPartial_SyncFails restores to a disk that loses pages when they are synced. The
// system says so once; after that, no part is listed that was not synced before.
func TestPartial_SyncFails(t *testing.T) {
	defer func() { syncData = (*os.File).Sync }()
	single := &content{info: &ltx.FileInfo{Level: 0, MinTXID: 42, MaxTXID: 42}, trailer: ltx.Trailer{FileChecksum: 1<<63 | 6}}
	write := func(p *partial, part int) error {
		return errors.Join(p.write(make([]byte, 512), int64(part)*512), p.done(single, part, ltxio.SumOf(1, 512), []bool{true}))
	}
	for name, call := range map[string]func(p *partial) error{
		"at the end": func(p *partial) error { return p.finish(p.path+".db", 1024) },
		"between": func(p *partial) error {
			p.mu.written = time.Time{} // the next part is recorded at once
			return write(p, 2)
		},
	} {
		t.Run(name, func(t *testing.T) {
			syncData = (*os.File).Sync
			path := filepath.Join(t.TempDir(), "partial")
			p, err := openPartial(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(write(p, 0), write(p, 1)); err != nil { // the first is recorded at once
				t.Fatal(err)
			}
			failed := false
			syncData = func(f *os.File) error {
				if !failed {
					failed = true
					return syscall.EIO
				}
				return f.Sync()
			}
			if err := call(p); !errors.Is(err, syscall.EIO) {
				t.Fatalf("error %v, want EIO", err)
			}
			if err := p.abandon(false); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path + recordSuffix)
			if err != nil {
				t.Fatal(err)
			}
			if parts, _, _ := parseRecord(b); len(parts) != 1 {
				t.Errorf("listed: %v, want the first part alone", parts)
			}
		})
	}
}

// TestPartial_RecordNotSynced cannot sync the record that drops some parts. The next
// restore, whose sync succeeds, must not begin with it.
func TestPartial_RecordNotSynced(t *testing.T) {
	defer func() { syncRecord = (*pagefile.File).Sync }()
	path := filepath.Join(t.TempDir(), "partial")
	writeGolden(t, path)
	p, err := openPartial(path)
	if err != nil {
		t.Fatal(err)
	}
	syncRecord = func(*pagefile.File) error { return syscall.EIO }
	if err := p.keep(nil); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v, want EIO", err)
	}
	if err := p.abandon(false); err != nil {
		t.Error(err)
	}
	syncRecord = (*pagefile.File).Sync
	for _, name := range []string{path, path + recordSuffix} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	if p, err = openPartial(path); err != nil {
		t.Fatal(err)
	}
	if err := p.abandon(true); err != nil {
		t.Error(err)
	}
}

// TestPartial_DataFails has a folder at the place of the partial file, and then none. The
// record is not in use after the failure.
func TestPartial_DataFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "partial")
	writeGolden(t, path)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := openPartial(path); err == nil {
		t.Fatal("opened a folder")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p, err := openPartial(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.abandon(true); err != nil {
		t.Error(err)
	}
}

// TestPartial_OtherVersion opens records of other versions. Nothing is continued from
// them, and when the next restore has begun, nothing is left of them that counts.
func TestPartial_OtherVersion(t *testing.T) {
	records := map[string][]byte{}
	for _, version := range []int{1, 2, 4} {
		// The first line is as long as the first one of the next restore, so what
		// follows it begins a line in both.
		for digits := 18; digits <= 20; digits++ {
			session := "12345678901234567890"[:digits]
			first := fmt.Sprintf("litestream restore %d\n{\"session\":%s,\"begins\":true}\n", version, session)
			records[fmt.Sprintf("version %d, %d digits", version, digits)] = []byte(first + first[len("litestream restore 1\n"):] +
				`{"session":` + session + `,"file":"9/0000000000000001-0000000000000029.ltx","checksum":"8000000000000005","part":1,"crc":7,"size":4096}` + "\n")
		}
	}
	records["restore-2"] = goldenfile.Read(t, "restore-2")
	for name, record := range records {
		path := filepath.Join(t.TempDir(), "partial")
		for file, b := range map[string][]byte{path: []byte("pages"), path + recordSuffix: record} {
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 2 {
			p, err := openPartial(path)
			if err != nil {
				t.Fatal(err)
			}
			if p.resumes || len(p.parts) > 0 {
				t.Errorf("%s: restore %d continues with %v", name, n+1, p.parts)
			}
			if err := p.data.Close(); err != nil { // as if the process were killed
				t.Fatal(err)
			}
			if err := p.record.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
