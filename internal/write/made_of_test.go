package write

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/errs"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// A merged file in which a frame claims more than a page needs is damaged. What it
// claims is not allocated.
func TestIsMadeOf_HugeFrame(t *testing.T) {
	inBed(t, func(b *bed) {
		b.commit(1, 2)
		b.rotate()
		s := b.Writer.queue.mu.segments[0]
		hdr := ltx.Header{PageSize: testPageSize, Commit: s.commit, MinTXID: 1, MaxTXID: 1, Timestamp: s.newest}
		body := ltxtest.EncodeLTX(hdr, map[uint32][]byte{1: bedPage(1, 1), 2: bedPage(2, 1)}, false)
		binary.BigEndian.PutUint32(body[ltx.HeaderSize+ltx.PageHeaderSize:], 1<<30)
		f, err := b.client.WriteLTXFile(t.Context(), 1, 1, 1, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if made, err := b.isMadeOf(t.Context(), s, f); made || !errors.Is(err, errs.ErrCorrupt) || !strings.Contains(err.Error(), "1073741824 bytes") {
			t.Errorf("it is made of the segment: %v, %v", made, err)
		}
	})
}
