package remote

import (
	"bytes"
	"log/slog"
	"slices"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxtest"
	"github.com/ltxvfs/litestream/memory"
)

// TestWrittenBetween says which pages transactions have written or cut off.
func TestWrittenBetween(t *testing.T) {
	client := memory.NewReplicaClient()
	put := func(level int, first, last ltx.TXID, commit uint32, pgnos ...uint32) {
		t.Helper()
		pages := make(map[uint32][]byte)
		for _, pgno := range pgnos {
			pages[pgno] = make([]byte, 512)
		}
		b := ltxtest.EncodeLTX(ltx.Header{PageSize: 512, Commit: commit, MinTXID: first, MaxTXID: last, Timestamp: 1}, pages, false)
		if _, err := client.WriteLTXFile(t.Context(), level, first, last, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	put(0, 1, 1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9)
	put(0, 2, 2, 9, 2, 4, 9)
	put(0, 3, 3, 6, 1, 6)
	put(0, 4, 4, 8, 7, 8)
	put(9, 1, 5, 8, 1, 2, 3, 4, 5, 6, 7, 8)
	s := &Store{Client: client, Log: slog.New(slog.DiscardHandler)}
	files, err := s.ListAll(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		from, to ltx.TXID
		want     []uint32 // nil: any page may be written
	}{
		{1, 2, []uint32{2, 4, 9, 10}},
		{1, 3, []uint32{1, 2, 4, 6, 7, 8, 9, 10}}, // 7 to 9 are cut off
		{2, 3, []uint32{1, 6, 7, 8, 9, 10}},
		{2, 4, []uint32{1, 6, 7, 8, 9, 10}}, // and come back as others
		{3, 4, []uint32{7, 8, 9, 10}},
		{4, 5, nil}, // only a whole database has it
		{0, 1, nil},
		{4, 9, nil},
	} {
		w, err := s.WrittenBetween(t.Context(), tt.from, tt.to, files)
		if err != nil {
			t.Fatal(err)
		}
		if (w == nil) != (tt.want == nil) {
			t.Errorf("from %d to %d: %+v", tt.from, tt.to, w)
		}
		for pgno := uint32(1); pgno <= 10; pgno++ {
			if want := tt.want == nil || slices.Contains(tt.want, pgno); w.Has(pgno) != want {
				t.Errorf("from %d to %d: page %d was written: %v", tt.from, tt.to, pgno, !want)
			}
		}
	}
}
