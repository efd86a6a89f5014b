package write

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/goldenfile"
)

// TestWatermark_Golden reads and writes the lock file of testdata/formats.
func TestWatermark_Golden(t *testing.T) {
	m := watermark{boot: [16]byte([]byte("boot of the host")), file: 0x0102030405060708, number: 7, salt: 0x73616c7473616c74, end: 3386}
	goldenfile.Check(t, "lock", m.encode())
	b := goldenfile.Read(t, "lock")
	if got := parseWatermark(b); got != m {
		t.Errorf("got %+v, want %+v", got, m)
	}
	// A newer version may add to the file.
	if got := parseWatermark(append(b, "more"...)); got != m {
		t.Errorf("with more bytes: got %+v, want %+v", got, m)
	}
}

// TestEncode_Golden writes the LTX file of the segment of testdata/formats, and
// decodes it as Litestream does. A version that wrote other bytes of the same commits
// could not recognise its upload before an update as its own.
func TestEncode_Golden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(path, goldenfile.Read(t, "segment-2"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var commits []commitlog.Commit
	log, _, err := commitlog.Open(f, func(c commitlog.Commit) error { commits = append(commits, c); return nil })
	if err != nil {
		t.Fatal(err)
	}
	s := newSegment(log)
	for _, c := range commits {
		s.add(&LocalCommit{Commit: c, segment: s})
	}
	var b bytes.Buffer
	if err := new(encoding).encode(&b, s); err != nil {
		t.Fatal(err)
	}
	goldenfile.Check(t, "upload.ltx", b.Bytes())

	dec := ltx.NewDecoder(bytes.NewReader(goldenfile.Read(t, "upload.ltx")))
	if err := dec.DecodeHeader(); err != nil {
		t.Fatal(err)
	}
	if h := dec.Header(); h.MinTXID != 42 || h.MaxTXID != 42 || h.Commit != 22 || h.PageSize != 512 || h.Timestamp != 2 {
		t.Errorf("header %+v", h)
	}
	pages := 0
	for page := make([]byte, 512); ; pages++ {
		var h ltx.PageHeader
		if err := dec.DecodePage(&h, page); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 512)
		if _, ok := s.pages[h.Pgno]; ok {
			if err := s.read(h.Pgno, want); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(page, want) {
			t.Errorf("page %d is not what was committed", h.Pgno)
		}
	}
	if err := dec.Close(); err != nil || pages == 0 {
		t.Errorf("%d pages, %v", pages, err)
	}
}
