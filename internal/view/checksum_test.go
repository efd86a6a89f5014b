package view_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/commitlog"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
)

// encodeWhole makes a whole file with all pages of a database.
func encodeWhole(t *testing.T, pages uint32) []byte {
	t.Helper()
	var buf bytes.Buffer
	enc, err := ltx.NewEncoder(&buf)
	if err != nil {
		t.Fatal(err)
	}
	hdr := ltx.Header{Version: ltx.Version, Flags: ltx.HeaderFlagNoChecksum, PageSize: 512, Commit: pages, MinTXID: 1, MaxTXID: 5, Timestamp: 1_700_000_000_000}
	if err := enc.EncodeHeader(hdr); err != nil {
		t.Fatal(err)
	}
	for pgno := uint32(1); pgno <= pages; pgno++ {
		if err := enc.EncodePage(ltx.PageHeader{Pgno: pgno}, bytes.Repeat([]byte{byte(pgno), byte(pgno >> 8)}, 256)); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestFile_HasFrames compares the sum of frames with the checksum of their file, whether
// the page index of the file was read at once or is read as it is needed.
func TestFile_HasFrames(t *testing.T) {
	for _, pages := range []uint32{1, 2, 300} {
		b := encodeWhole(t, pages)
		parsed, err := ltxio.ParseFile(b, 1, 5)
		if err != nil {
			t.Fatal(err)
		}
		frames := make([]ltxio.Sum, 2) // right, and with a byte of a page changed
		page, end := make([]byte, 512), int64(ltx.HeaderSize)
		parsed.Index.Each(func(e ltxio.Entry) bool {
			end = e.Offset + int64(e.Size)
			if err := ltxio.DecodeFrame(page, b[e.Offset:end], e.Pgno); err != nil {
				t.Fatal(err)
			}
			frames[0].AddFrame(b[e.Offset:end], page)
			if e.Pgno == pages {
				page[9]++
			}
			frames[1].AddFrame(b[e.Offset:end], page)
			return true
		})
		info := &ltx.FileInfo{MinTXID: 1, MaxTXID: 5, Size: int64(len(b))}
		head := b[:ltx.HeaderSize+ltx.PageHeaderSize]
		read := view.NewFile(info, parsed.Header, parsed.Index, int64(len(b))-end)
		read.SetChecksum(parsed.Trailer.FileChecksum, head, b[end:])

		dense, _, err := ltxio.ParseDenseTail(b, parsed.Header, info.Size)
		if err != nil {
			t.Fatal(err)
		}
		unread := view.NewDenseFile(info, parsed.Header, view.NewDense(dense, nil))
		unread.SetDenseChecksum(parsed.Trailer.FileChecksum, head, b[dense.End:])
		if unread.KnowsFrames() || unread.HasFrames(frames[0]) {
			t.Errorf("%d pages: the frames are known without the index", pages)
		}
		var index ltxio.Sum
		index.Add(b[dense.FramesEnd:dense.End])
		unread.SetIndexSum(index)
		for name, f := range map[string]*view.File{"read": read, "unread": unread} {
			if !f.KnowsFrames() || !f.HasFrames(frames[0]) || f.HasFrames(frames[1]) || f.HasFrames(ltxio.Sum{}) {
				t.Errorf("%d pages, %s: known %v, has the frames %v, with another byte %v", pages, name, f.KnowsFrames(), f.HasFrames(frames[0]), f.HasFrames(frames[1]))
			}
		}
	}
}

// An error of a damaged page of a write buffer says what becomes of it. Other errors are
// not about the page.
func TestReadCommitted_Errors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "buffer")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := commitlog.Create(f, commitlog.Header{PageSize: 512})
	if err != nil {
		t.Fatal(err)
	}
	c := &commitlog.Commit{Size: 3, Pgnos: []uint32{3}}
	if err := s.Append(c, func(_ int, p []byte) error { copy(p, "content"); return nil }); err != nil {
		t.Fatal(err)
	}
	p, off := make([]byte, 512), s.PageOffset(c, 0)
	if err := view.ReadCommitted(s, 3, off, p); err != nil || !bytes.HasPrefix(p, []byte("content")) {
		t.Fatalf("%q, %v", p[:7], err)
	}
	if _, err := f.WriteAt([]byte{7}, off); err != nil {
		t.Fatal(err)
	}
	const kept = "the segment is kept, and nothing of it is uploaded"
	err = view.ReadCommitted(s, 3, off, p)
	if !errors.Is(err, commitlog.ErrDamaged) || !strings.Contains(err.Error(), kept) || !strings.Contains(err.Error(), "read page 3 from the write buffer "+path) {
		t.Errorf("a damaged page: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := view.ReadCommitted(s, 3, off, p); !errors.Is(err, os.ErrClosed) || strings.Contains(err.Error(), kept) {
		t.Errorf("a closed buffer: %v", err)
	}
}
