package write

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/view"
)

// newTestTransaction returns a transaction on a database of some pages, whose change
// counter is 7.
func newTestTransaction(pages uint32) *Transaction {
	v := &view.View{PageSize: testPageSize, Commit: pages, State: new(view.State)}
	v.State.Counter.Store(7)
	return NewTransaction(v, nil)
}

// sizedPage returns a page 1 that says a size of the database and two counters.
func sizedPage(counter, size, validFor uint32) []byte {
	page := testPage(1, 0)
	page[dbheader.OffWriteVersion], page[dbheader.OffReadVersion] = 1, 1
	binary.BigEndian.PutUint32(page[dbheader.OffChangeCounter:], counter)
	binary.BigEndian.PutUint32(page[dbheader.OffCommit:], size)
	binary.BigEndian.PutUint32(page[dbheader.OffVersionValid:], validFor)
	return page
}

// TestTransaction_Refuses says which writes and sizes no database can have. After one
// of them nothing is committed, and SQLite may undo the transaction.
func TestTransaction_Refuses(t *testing.T) {
	page := make([]byte, testPageSize)
	wrongSize := testPage(1, 0)
	binary.BigEndian.PutUint16(wrongSize[dbheader.OffPageSize:], 1024)
	lock := int64(ltx.LockPgno(testPageSize)-1) * testPageSize
	const last = (1<<32 - 3) * testPageSize // offset of the last page that SQLite can have
	for _, tt := range []struct {
		name string
		do   func(tx *Transaction) error
		ok   bool
		size int64 // in pages
	}{
		{"the last page", func(tx *Transaction) error { return tx.Write(page, last) }, true, 1<<32 - 2},
		{"a page beyond the last", func(tx *Transaction) error { return tx.Write(page, last+testPageSize) }, false, 3},
		{"a negative offset", func(tx *Transaction) error { return tx.Write(page, -testPageSize) }, false, 3},
		{"a part of a page", func(tx *Transaction) error { return tx.Write(page[:100], testPageSize) }, false, 3},
		{"two pages", func(tx *Transaction) error { return tx.Write(make([]byte, 2*testPageSize), testPageSize) }, false, 3},
		{"two halves of pages", func(tx *Transaction) error { return tx.Write(page, testPageSize/2) }, false, 3},
		{"the lock page", func(tx *Transaction) error { return tx.Write(page, lock) }, false, 3},
		{"the page after it", func(tx *Transaction) error { return tx.Write(page, lock+testPageSize) }, true, lock/testPageSize + 2},
		{"another page size in page 1", func(tx *Transaction) error { return tx.Write(wrongSize, 0) }, false, 3},
		{"the same in page 2", func(tx *Transaction) error { return tx.Write(wrongSize, testPageSize) }, true, 3},
		{"size 0", func(tx *Transaction) error { return tx.Truncate(0) }, true, 0},
		{"one page", func(tx *Transaction) error { return tx.Truncate(testPageSize) }, true, 1},
		{"more pages", func(tx *Transaction) error { return tx.Truncate(9 * testPageSize) }, true, 9},
		{"a negative size", func(tx *Transaction) error { return tx.Truncate(-testPageSize) }, false, 3},
		{"a byte more than a page", func(tx *Transaction) error { return tx.Truncate(testPageSize + 1) }, false, 3},
		{"the largest size", func(tx *Transaction) error { return tx.Truncate((1<<32 - 2) * testPageSize) }, true, 1<<32 - 2},
		{"a size after a commit", func(tx *Transaction) error { return tx.Resize(2 * testPageSize) }, true, 2},
		{"a negative one", func(tx *Transaction) error { return tx.Resize(-testPageSize) }, false, 3},
		{"more than the largest size", func(tx *Transaction) error { return tx.Truncate((1<<32 - 1) * testPageSize) }, false, 3},
	} {
		tx := newTestTransaction(3)
		err := tt.do(tx)
		if (err == nil) != tt.ok || (tx.Err() == nil) != tt.ok || tx.FileSize() != tt.size*testPageSize {
			t.Errorf("%s: %v, then %v and %d bytes", tt.name, err, tx.Err(), tx.FileSize())
		}
		if tx.Changes() != tt.ok || tx.IsDirty() != tt.ok {
			t.Errorf("%s: it has changes %v, and some to be committed %v", tt.name, tx.Changes(), tx.IsDirty())
		}
		if tt.ok {
			continue
		}
		if err := errors.Join(tx.Write(page, testPageSize), tx.Truncate(0)); err != nil || tx.Changes() || tx.FileSize() != 3*testPageSize {
			t.Errorf("%s: undone with %v and %d bytes", tt.name, err, tx.FileSize())
		}
		tx.Drop()
	}
	tx := NewTransaction(&view.View{State: new(view.State)}, nil)
	if err := tx.Truncate(0); !errors.Is(err, errPageSize) {
		t.Errorf("a size before there is a page size: %v", err)
	}
	tx = NewTransaction(&view.View{State: new(view.State)}, nil)
	if err := tx.Write(make([]byte, 1000), 1000); !errors.Is(err, errPageSize) {
		t.Errorf("a size that no page has: %v", err)
	}
	tx = NewTransaction(&view.View{State: new(view.State)}, nil)
	if err := tx.Write(make([]byte, 65536), 65536); err != nil || tx.FileSize() != 2*65536 {
		t.Errorf("the first page of a new database: %v, %d bytes", err, tx.FileSize())
	}
}

// TestTransaction_Read writes, cuts off, and reads: a page that was written again has
// one place only, and a page that was cut off does not come back.
func TestTransaction_Read(t *testing.T) {
	tx := newTestTransaction(6)
	defer tx.Drop()
	write := func(pgno uint32, fill byte) {
		t.Helper()
		if err := tx.Write(testPage(pgno, fill), int64(pgno-1)*testPageSize); err != nil {
			t.Fatal(err)
		}
	}
	write(2, 1)
	write(3, 2)
	write(2, 3)
	write(5, 4)
	write(6, 5)
	if used := tx.used; used != 4 {
		t.Errorf("4 pages have %d places", used)
	}
	if err := errors.Join(tx.Truncate(4*testPageSize), tx.Truncate(7*testPageSize)); err != nil {
		t.Fatal(err)
	}
	write(6, 6)
	const unchanged, end = -1, -2
	for pgno, want := range []int{1: unchanged, 2: 3, 3: 2, 4: unchanged, 5: 0, 6: 6, 7: 0, 8: end} {
		if pgno == 0 {
			continue
		}
		p := bytes.Repeat([]byte{99}, testPageSize)
		n, done, err := tx.Read(p, int64(pgno-1)*testPageSize)
		switch {
		case want == unchanged && !done && err == nil && n == 0:
		case want == end && done && err == io.EOF && n == 0:
		case want >= 0 && done && err == nil && n == testPageSize && bytes.Equal(p, testPage(2, byte(want))):
		default:
			t.Errorf("page %d: %d bytes, done %v, %v, beginning with %d", pgno, n, done, err, p[0])
		}
	}
	part := make([]byte, testPageSize)
	if n, done, err := tx.Read(part, testPageSize+500); n != testPageSize-500 || !done || err != nil {
		t.Errorf("a read to the end of a page: %d bytes, done %v, %v", n, done, err)
	}
	if got := tx.pgnos(5); !slices.Equal(got, []uint32{2, 3}) {
		t.Errorf("up to page 5 it changes %d", got)
	}
	if got := tx.pgnos(6); !slices.Equal(got, []uint32{2, 3, 6}) {
		t.Errorf("up to page 6 it changes %d", got)
	}
}

// TestTransaction_PageOne says what page 1 means for the transaction: the change
// counter, the size after the commit, and the journal mode.
func TestTransaction_PageOne(t *testing.T) {
	wal := sizedPage(8, 5, 8)
	wal[dbheader.OffReadVersion] = 2
	for _, tt := range []struct {
		name    string
		write   []byte // nil: it is not written
		resize  int64  // in pages; 0: none
		size    uint32
		counter uint32
		wal     bool
	}{
		{name: "not written", size: 4, counter: 7},
		{name: "valid size", write: sizedPage(8, 0x010203, 8), size: 0x010203, counter: 8},
		{name: "size of another counter", write: sizedPage(8, 5, 7), size: 4, counter: 8},
		{name: "no size", write: sizedPage(8, 0, 8), size: 4, counter: 8},
		{name: "size set after the commit", write: sizedPage(8, 5, 8), resize: 2, size: 2, counter: 8},
		{name: "wal", write: wal, size: 5, counter: 8, wal: true},
	} {
		tx := newTestTransaction(3)
		err := tx.Write(testPage(4, 9), 3*testPageSize)
		if err == nil && tt.write != nil {
			err = tx.Write(tt.write, 0)
		}
		if err == nil && tt.resize > 0 {
			err = tx.Resize(tt.resize * testPageSize)
		}
		if err != nil {
			t.Fatal(err)
		}
		size, err := tx.commitSize()
		if err != nil || size != tt.size || tx.Counter() != tt.counter || tx.HasNewCounter() != (tt.counter != 7) || tx.wal != tt.wal || tx.IsResized() != (tt.resize > 0) {
			t.Errorf("%s: %d pages, counter %d, wal %v, %v", tt.name, size, tx.Counter(), tx.wal, err)
		}
		tx.Seal()
		if tx.IsDirty() || !tx.Changes() || tx.IsResized() {
			t.Errorf("%s: sealed, it has changes to be committed", tt.name)
		}
		if err := tx.Write(testPage(4, 9), 3*testPageSize); err != nil || !tx.IsDirty() {
			t.Errorf("%s: written again, it has no changes to be committed: %v", tt.name, err)
		}
		tx.Drop()
	}
	tx := newTestTransaction(3)
	defer tx.Drop()
	noHeader := sizedPage(8, 5, 8)
	noHeader[0] = 'X'
	if err := tx.Write(noHeader, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.commitSize(); err == nil || !strings.Contains(err.Error(), "page 1 of the transaction") {
		t.Errorf("without the header of a database: %v", err)
	}
	if err := tx.Truncate(0); err != nil || tx.Counter() != 7 {
		t.Errorf("rolled back, its counter is %d, %v", tx.Counter(), err)
	}
	var none *Transaction
	if none.Changes() {
		t.Error("no transaction has changes")
	}
}
