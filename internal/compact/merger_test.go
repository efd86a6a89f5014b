package compact

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// mergeBed is files in memory, and a Merger that reads them.
type mergeBed struct {
	bodies map[ltx.TXID][]byte
	inputs []*ltx.FileInfo
	merger Merger

	mu      sync.Mutex
	loads   []string // guarded by mu
	read    int64    // guarded by mu
	checked []string // guarded by mu
}

// newMergeBed makes three files of two pages each. The second of them is larger than
// a part.
func newMergeBed() *mergeBed {
	b := &mergeBed{bodies: make(map[ltx.TXID][]byte)}
	for txid := ltx.TXID(2); txid <= 4; txid++ {
		pages := map[uint32][]byte{1: bytes.Repeat([]byte{byte(txid)}, 4096), uint32(txid): bytes.Repeat([]byte{10 * byte(txid)}, 4096)}
		if txid == 3 {
			noise := ltxtest.Noise(400 * 4096)
			for i := range uint32(400) {
				pages[100+i] = noise[i*4096:][:4096]
			}
		}
		body := ltxtest.EncodeLTX(ltx.Header{PageSize: 4096, Commit: 500, MinTXID: txid, MaxTXID: txid, Timestamp: int64(txid)}, pages, true)
		b.bodies[txid] = body
		b.inputs = append(b.inputs, &ltx.FileInfo{MinTXID: txid, MaxTXID: txid, Size: int64(len(body))})
	}
	b.merger.Load = func(_ context.Context, f *ltx.FileInfo, buf []byte, offset int64) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.loads = append(b.loads, fmt.Sprintf("%d at %d", f.MinTXID, offset))
		copy(buf, b.bodies[f.MinTXID][offset:])
		return nil
	}
	b.merger.Check = func(f *ltx.FileInfo, header []byte) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.checked = append(b.checked, fmt.Sprintf("%d %s", f.MinTXID, header[:4]))
		return nil
	}
	b.merger.Read = func(n int64) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.read += n
	}
	return b
}

// TestMerger reads each file once, in parts, ahead or as it is needed.
func TestMerger(t *testing.T) {
	for _, ahead := range []int{0, 1, 2, 9} {
		t.Run(fmt.Sprintf("%d ahead", ahead), func(t *testing.T) {
			b := newMergeBed()
			b.merger.Ahead = ahead
			var out bytes.Buffer
			if err := b.merger.Merge(t.Context(), &out, b.inputs); err != nil {
				t.Fatal(err)
			}
			d := ltx.NewDecoder(bytes.NewReader(out.Bytes()))
			if err := d.Verify(); err != nil {
				t.Fatal(err)
			}
			if h := d.Header(); h.MinTXID != 2 || h.MaxTXID != 4 || d.PageN() != 4+400 {
				t.Errorf("it has transactions %s to %s and %d pages", h.MinTXID, h.MaxTXID, d.PageN())
			}
			total := int64(0)
			for _, f := range b.inputs {
				total += f.Size
			}
			if b.read != total {
				t.Errorf("%d bytes are counted, want %d", b.read, total)
			}
			first := slices.Sorted(slices.Values(b.loads[:3]))
			if ahead > 0 && strings.Join(first, ", ") != "2 at 0, 3 at 0, 4 at 0" {
				t.Errorf("the first parts are not read before the merge: %v", b.loads)
			}
			slices.Sort(b.loads)
			if got := strings.Join(b.loads, ", "); got != "2 at 0, 3 at 0, 3 at 1048576, 4 at 0" {
				t.Errorf("it reads %s", got)
			}
			slices.Sort(b.checked)
			if got := strings.Join(b.checked, ", "); got != "2 LTX1, 3 LTX1, 4 LTX1" {
				t.Errorf("it checks %s", got)
			}
		})
	}
}

// TestMerger_Faults fails in each place where a merge can.
func TestMerger_Faults(t *testing.T) {
	wrong := errors.New("wrong")
	for _, ahead := range []int{0, 2} {
		for txid := ltx.TXID(2); txid <= 4; txid++ {
			for offset := int64(0); offset < int64(len(newMergeBed().bodies[txid])); offset += inputPart {
				b := newMergeBed()
				b.merger.Ahead = ahead
				load := b.merger.Load
				b.merger.Load = func(ctx context.Context, f *ltx.FileInfo, buf []byte, at int64) error {
					if f.MinTXID == txid && at == offset {
						return wrong
					}
					return load(ctx, f, buf, at)
				}
				if err := b.merger.Merge(t.Context(), new(bytes.Buffer), b.inputs); !errors.Is(err, wrong) {
					t.Errorf("%d ahead, file %d cannot be read at %d: %v", ahead, txid, offset, err)
				}
			}
			b := newMergeBed()
			b.merger.Ahead = ahead
			b.merger.Check = func(f *ltx.FileInfo, _ []byte) error {
				if f.MinTXID == txid {
					return wrong
				}
				return nil
			}
			if err := b.merger.Merge(t.Context(), new(bytes.Buffer), b.inputs); !errors.Is(err, wrong) {
				t.Errorf("%d ahead, file %d is another one: %v", ahead, txid, err)
			}
		}
	}
	b := newMergeBed()
	b.merger.Check, b.merger.Read = nil, nil
	if err := b.merger.Merge(t.Context(), new(bytes.Buffer), b.inputs); err != nil {
		t.Errorf("without calls: %v", err)
	}
}

// A frame that claims more than a page needs fails the merge before that much is
// allocated.
func TestMerger_HugeFrame(t *testing.T) {
	for _, ahead := range []int{0, 2} {
		b := newMergeBed()
		b.merger.Ahead = ahead
		body := ltxtest.EncodeLTX(ltx.Header{PageSize: 4096, Commit: 500, MinTXID: 3, MaxTXID: 3, Timestamp: 3}, map[uint32][]byte{2: make([]byte, 4096)}, false)
		binary.BigEndian.PutUint32(body[ltx.HeaderSize+ltx.PageHeaderSize:], 1<<30)
		b.bodies[3], b.inputs[1].Size = body, int64(len(body))
		if err := b.merger.Merge(t.Context(), new(bytes.Buffer), b.inputs); !errors.Is(err, ltxio.ErrCorrupt) {
			t.Errorf("%d ahead: %v", ahead, err)
		}
	}
}
