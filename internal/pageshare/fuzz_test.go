package pageshare

import (
	"os"
	"slices"
	"testing"

	"github.com/superfly/ltx"
)

// FuzzTable overwrites a part of a table that is in use. Whatever the bytes are, a
// borrower and the owner go on or give up, and a table that can be opened again is
// one of this file.
func FuzzTable(f *testing.F) {
	if _, err := bootID(); err != nil {
		f.Skip("no sharing here:", err)
	}
	f.Add(uint16(0), []byte(magic), uint32(9))
	f.Add(uint16(16), []byte{2}, uint32(1))
	f.Add(uint16(64), []byte{1, 0, 0, 0, 0, 0, 0, 0, 7}, uint32(0))
	f.Add(uint16(88), []byte{255, 255, 255, 255, 255, 255, 255, 255}, uint32(1<<32-1))
	f.Add(uint16(150), slices.Repeat([]byte{255}, 100), uint32(20_000))
	f.Fuzz(func(t *testing.T, at uint16, b []byte, pgno uint32) {
		if len(b) > 4096 {
			return
		}
		o, borrower := ownerAndBorrower(t)
		o.Publish(Published{TXID: 7, Total: 10, Anchors: []Anchor{{Level: 0, MinTXID: 1, MaxTXID: 7, Size: 99, Checksum: 5}}})
		o.Put(3, []ltx.TXID{5, 6})
		file, err := os.OpenFile(o.path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		// The head is the first part of what stands before the words.
		if _, err := file.WriteAt(b, int64(at)%(headSize-4096)); err != nil {
			t.Fatal(err)
		}
		use := func(table *Table) {
			s, _ := table.Status()
			_ = s.State.String()
			if anchors, _, _, ok := table.Anchors(); ok && len(anchors) > MaxAnchors {
				t.Errorf("%d anchors", len(anchors))
			}
			table.Word(pgno)
			read(table, s.Generation, 3, func() {})
			table.IsIntact()
		}
		_ = borrower.Follow()
		use(borrower)
		use(o)
		if pgno%8 == 0 { // mapping words takes time
			_ = o.Room(pgno % 100_000)
		}
		o.Renew(512)
		if v, _ := o.Word(3); v != 0 {
			t.Errorf("page 3 is there in version %s", v)
		}
		o.Clear(pgno)
		o.Compared(pgno)
		o.Beat()
		for _, open := range []func(string, FileID) (*Table, error){Open, Claim} {
			if again, err := open(o.path, testID); err == nil {
				_ = again.Follow()
				use(again)
				if err := again.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = o.Err()
	})
}
