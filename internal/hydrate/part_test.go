package hydrate

import (
	"bytes"
	"errors"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/pagefile"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/ltxvfs/litestream/internal/view/viewtest"
)

// TestDecodeAll_Numbers reads a part of which a frame says another number than the
// page index. Its page would be missing for ever, however often the part is read.
func TestDecodeAll_Numbers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		numbers [4]uint32 // what the frames say
		ok      bool
	}{
		{"as in the index", [4]uint32{1, 2, 3, 4}, true},
		{"the last beyond the database", [4]uint32{1, 2, 3, 1<<32 - 1}, false},
		{"one beyond the database", [4]uint32{1, 77, 3, 4}, false},
		{"twice the same", [4]uint32{1, 3, 3, 4}, false},
		{"another order", [4]uint32{2, 1, 3, 4}, false},
		{"none", [4]uint32{0, 2, 3, 4}, false},
	} {
		var enc ltxio.FrameEncoder
		var body []byte
		sizes := map[uint32]uint64{}
		for i, pgno := range tt.numbers {
			frame, err := enc.AppendFrame(nil, pgno, bytes.Repeat([]byte{byte(i)}, 4096))
			if err != nil {
				t.Fatal(err)
			}
			sizes[uint32(i)+1] = uint64(len(frame))
			body = append(body, frame...)
		}
		f, index := viewtest.FileOfSizes(t, 1, 1, 4096, 4, viewtest.AllPages(4096, 4), func(pgno uint32) uint64 { return sizes[pgno] })
		v := viewtest.Advance(t, new(view.View), f, index)
		file, err := pagefile.CreateTemp()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		l := newLocalPages(file, 4096, nil)
		hold(t, l, v)
		p := part{file: f, offset: ltx.HeaderSize, end: ltx.HeaderSize + int64(len(body)), first: 1, last: 4, pages: 4, whole: true}
		w := &runWriter{l: l, pageSize: 4096, data: make([]byte, 0, runSize)}
		_, err = decodeAll(v, p, body, w)
		if tt.ok && err != nil || !tt.ok && !errors.Is(err, errs.ErrCorrupt) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
