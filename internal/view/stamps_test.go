package view

import (
	"errors"
	"testing"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/superfly/ltx"
)

// TestBridge_KeepsSizes marks transactions as doubtful. The sizes of the database
// after them stay known.
func TestBridge_KeepsSizes(t *testing.T) {
	cur := &View{TXID: 100, Commit: 9, PageSize: 512}
	for txid := ltx.TXID(31); txid <= 100; txid++ {
		size := uint32(9)
		if txid == 95 {
			size = 4
		}
		cur.stamps = addStamp(cur.stamps, &File{MaxTXID: txid, Timestamp: int64(txid), Commit: size})
	}
	f := &File{Level: 1, MinTXID: 91, MaxTXID: 110, Timestamp: 110, PageSize: 512, Commit: 4, Frames: 0}
	next, err := cur.Advance(f, ltxio.Index{})
	if err == nil {
		next, err = Bridge(cur, next, f, ltxio.Index{}, 90)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := next.StampOf(95); ok {
		t.Error("the time of a doubtful transaction is known")
	}
	if got := next.leastSince(92); got != 4 {
		t.Errorf("the least size since transaction 92 is %d, not 4", got)
	}
	for back, want := range map[ltx.TXID]uint32{0: 4, 1: 0} {
		txid := next.Stamps()[0].TXID - back
		if got := next.leastSince(txid); got != want {
			t.Errorf("the least size since transaction %d, of %d stamps from %d on, is %d, not %d", txid, len(next.Stamps()), next.Stamps()[0].TXID, got, want)
		}
	}
	if got := next.leastSince(30); got != 0 {
		t.Errorf("the least size since transaction 30 is %d, although that of 32 is forgotten", got)
	}
}

// TestBridge_Older bridges to files that are older than the newest transaction. Only
// the time of a snapshot says nothing.
func TestBridge_Older(t *testing.T) {
	cur := &View{TXID: 100, Commit: 9, PageSize: 512}
	for txid := ltx.TXID(91); txid <= 100; txid++ {
		cur.stamps = addStamp(cur.stamps, &File{MaxTXID: txid, Timestamp: int64(txid), Commit: 9})
	}
	for _, tt := range []struct {
		level     int
		timestamp int64
		ok        bool
	}{{1, 99, false}, {1, 100, true}, {1, 101, true}, {9, 99, true}, {9, 100, true}} {
		f := &File{Level: tt.level, MinTXID: 91, MaxTXID: 110, Timestamp: tt.timestamp, PageSize: 512, Commit: 9}
		next, err := cur.Advance(f, ltxio.Index{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Bridge(cur, next, f, ltxio.Index{}, 90); (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrDisagrees) {
			t.Errorf("level %d, timestamp %d: %v", tt.level, tt.timestamp, err)
		}
	}
}
