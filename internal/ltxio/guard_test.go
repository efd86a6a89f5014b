package ltxio_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// guarded returns a file of three pages, in which frames are of the older format if old
// is set, and one page is zeros, one is noise and one is text.
func guarded(pageSize int, old bool) []byte {
	hdr := ltx.Header{PageSize: uint32(pageSize), Commit: 9, MinTXID: 2, MaxTXID: 2, Timestamp: 1}
	return ltxtest.EncodeLTX(hdr, map[uint32][]byte{
		1: make([]byte, pageSize), 4: ltxtest.Noise(pageSize), 9: bytes.Repeat([]byte("text"), pageSize/4),
	}, old)
}

// asked is a reader that records the largest read of a decoder, which has allocated so
// much.
type asked struct {
	r    io.Reader
	most int
}

func (a *asked) Read(p []byte) (int, error) {
	a.most = max(a.most, len(p))
	return a.r.Read(p)
}

// decode decodes a file behind a guard. It returns the largest read of the decoder.
func decode(r io.Reader) (most int, err error) {
	a := &asked{r: ltxio.NewGuard(r)}
	err = ltx.NewDecoder(a).Verify()
	return a.most, err
}

// A file that is in order passes, however it arrives.
func TestGuard(t *testing.T) {
	for _, old := range []bool{false, true} {
		for pageSize := 512; pageSize <= 65536; pageSize *= 2 {
			b := guarded(pageSize, old)
			for name, r := range map[string]io.Reader{
				"at once":           bytes.NewReader(b),
				"byte by byte":      iotest.OneByteReader(bytes.NewReader(b)),
				"EOF with the data": iotest.DataErrReader(bytes.NewReader(b)),
			} {
				if _, err := decode(r); err != nil {
					t.Errorf("page size %d, old frames %v, %s: %v", pageSize, old, name, err)
				}
			}
		}
		b := guarded(512, old)
		for n := range b {
			if _, err := decode(bytes.NewReader(b[:n])); err == nil {
				t.Errorf("old frames %v: a file that is cut off after %d bytes is decoded", old, n)
			}
		}
	}
}

// A decoder does not allocate what a frame only claims.
func TestGuard_Claims(t *testing.T) {
	const pageSize = 512
	most := uint32(ltxio.MaxFrameSize(pageSize) - ltxio.FrameHeaderSize(true))
	for _, old := range []bool{false, true} {
		intact := guarded(pageSize, old)
		file, err := ltxio.ParseFile(intact, 2, 2)
		if err != nil {
			t.Fatal(err)
		}
		frame := 0
		file.Index.Each(func(e ltxio.Entry) bool {
			for _, size := range []uint32{most + 1, 1 << 20, 1 << 30, math.MaxInt32} {
				b := bytes.Clone(intact)
				at := b[e.Offset+ltx.PageHeaderSize:]
				if old {
					binary.LittleEndian.PutUint32(at[7:], size) // after magic number, flags and checksum
				} else {
					binary.BigEndian.PutUint32(at, size)
				}
				asked, err := decode(bytes.NewReader(b))
				if !errors.Is(err, ltxio.ErrCorrupt) || asked > 64<<10 {
					t.Errorf("frame %d claims %d bytes, old frames %v: read of %d bytes, %v", frame, size, old, asked, err)
				}
			}
			frame++
			return true
		})
		if frame != 3 {
			t.Errorf("the file has %d frames", frame)
		}
	}
}

// A frame of the older format that the decoder would follow in another way than the
// guard ends the reading.
func TestGuard_OldFrames(t *testing.T) {
	intact := guarded(512, true)
	frame := ltx.HeaderSize + ltx.PageHeaderSize
	for name, change := range map[string]func(b []byte) []byte{
		"flags of the page": func(b []byte) []byte { b[frame-1] = 2; return b },
		"a skippable frame": func(b []byte) []byte { binary.LittleEndian.PutUint32(b[frame:], 0x184D2A50); return b },
		"a legacy frame":    func(b []byte) []byte { binary.LittleEndian.PutUint32(b[frame:], 0x184C2102); return b },
		"another version":   func(b []byte) []byte { b[frame+4] |= 0x80; return b },
		"a dictionary":      func(b []byte) []byte { b[frame+4] |= 1; return b },
		"no checksum":       func(b []byte) []byte { b[frame+4] &^= 4; return b },
		"two blocks": func(b []byte) []byte {
			size := binary.LittleEndian.Uint32(b[frame+7:]) &^ (1 << 31)
			binary.LittleEndian.PutUint32(b[frame+11+int(size):], 4)
			return b
		},
	} {
		b := change(bytes.Clone(intact))
		if _, err := io.Copy(io.Discard, ltxio.NewGuard(bytes.NewReader(b))); !errors.Is(err, ltxio.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := decode(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: the decoder hides the error", name)
		}
	}
	// The first frame holds half a page. The decoder takes the number of the next page
	// for the magic number of another LZ4 frame.
	half := ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: 1, MinTXID: 1, MaxTXID: 1, Timestamp: 1}, map[uint32][]byte{1: make([]byte, 512)}, true)
	b := append(bytes.Clone(intact[:ltx.HeaderSize]), half[ltx.HeaderSize:]...)
	binary.BigEndian.PutUint32(b[8:], 1024) // page size
	if _, err := decode(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "less than a page") {
		t.Errorf("half a page: %v", err)
	}
}

// FuzzGuard decodes any bytes. A decoder behind a guard never reads more at once, and so
// allocates no more, than pages and their frames need.
func FuzzGuard(f *testing.F) {
	for _, old := range []bool{false, true} {
		f.Add(guarded(512, old))
		f.Add(guarded(4096, old))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		guarded, err := decode(bytes.NewReader(b))
		if guarded > 128<<10 {
			t.Fatalf("the decoder reads %d bytes at once: %v", guarded, err)
		}
		if err != nil {
			return
		}
		if err := ltx.NewDecoder(bytes.NewReader(b)).Verify(); err != nil {
			t.Fatal(fmt.Errorf("the guard changes bytes: %w", err))
		}
	})
}
