package write

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/tempfile"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// txState says how much of a transaction is in the write buffer.
type txState int

const (
	txClean    txState = iota // nothing was changed
	txDirty                   // something was changed, and nothing is in the write buffer
	txSealed                  // all that was changed is in the write buffer, and not finished
	txReopened                // something was changed after txSealed
)

func (s txState) String() string { return [...]string{"clean", "dirty", "sealed", "reopened"}[s] }

// Transaction is what a connection that holds the writer slot has changed and
// not committed. No other connection sees it. It is not safe for concurrent use.
type Transaction struct {
	View     *view.View // that it changes
	state    txState
	PageSize uint32
	slots    map[uint32]int64 // where pages are in data, in pages
	data     tempfile.File
	used     int64  // slots that were ever given
	Size     uint32 // of the database now, pages
	least    uint32 // the smallest size since the transaction began, pages
	Counter  uint32 // change counter in page 1
	wal      bool   // page 1 says WAL mode; it does not when it is read back
	Resized  bool   // size is what SQLite set after a commit, not what page 1 says
	Err      error  // why a write failed: nothing may be committed; nil if none did
}

var errPageSize = errors.New("the page size of a database cannot change: LTX files cannot express it")

func NewTransaction(v *view.View, memory []byte) *Transaction {
	return &Transaction{
		data: tempfile.New(memory),
		View: v, PageSize: v.PageSize, slots: make(map[uint32]int64),
		Size: v.Commit, least: v.Commit, Counter: v.State.Counter.Load(),
	}
}

// Write notes a page. After an error nothing of the transaction is committed:
// SQLite writes only to undo it, and that is ignored.
func (tx *Transaction) Write(p []byte, off int64) error {
	if tx.Err != nil {
		return nil
	}
	tx.Err = tx.writePage(p, off)
	return tx.Err
}

func (tx *Transaction) writePage(p []byte, off int64) error {
	if tx.PageSize == 0 && ltx.IsValidPageSize(uint32(len(p))) {
		tx.PageSize = uint32(len(p)) // of a new database
	}
	size := int64(tx.PageSize)
	switch {
	case size == 0 || off < 0 || off%size != 0 || int64(len(p)) != size:
		return fmt.Errorf("write %d bytes at %d to pages of %d: %w", len(p), off, size, errPageSize)
	case off/size >= 1<<32-2:
		return fmt.Errorf("write at %d: the database would be too large", off)
	}
	pgno := uint32(off/size) + 1
	if pgno == ltx.LockPgno(tx.PageSize) {
		return fmt.Errorf("write page %d: it is the lock page", pgno)
	}
	if pgno == 1 {
		if hdr := int64(binary.BigEndian.Uint16(p[dbheader.OffPageSize:])); hdr != size && (hdr != 1 || size != 65536) {
			return fmt.Errorf("write page 1, which says page size %d, not %d: %w", hdr, size, errPageSize)
		}
	}
	slot, known := tx.slots[pgno]
	if !known {
		slot = tx.used
	}
	if _, err := tx.data.WriteAt(p, slot*size); err != nil {
		return fmt.Errorf("write page %d to a temporary file: %w", pgno, err)
	}
	tx.slots[pgno], tx.used = slot, max(tx.used, slot+1)
	tx.Size = max(tx.Size, pgno)
	if pgno == 1 {
		tx.Counter = binary.BigEndian.Uint32(p[dbheader.OffChangeCounter:])
		tx.wal = p[dbheader.OffWriteVersion] != 1 || p[dbheader.OffReadVersion] != 1
	}
	tx.change()
	return nil
}

// Truncate sets the size.
func (tx *Transaction) Truncate(size int64) error {
	if tx.Err != nil {
		return nil
	}
	if tx.PageSize == 0 || size < 0 || size%int64(tx.PageSize) != 0 || size/int64(tx.PageSize) >= 1<<32-1 {
		tx.Err = fmt.Errorf("truncate to %d bytes: %w", size, errPageSize)
		return tx.Err
	}
	n := uint32(size / int64(tx.PageSize))
	if n < tx.Size {
		maps.DeleteFunc(tx.slots, func(pgno uint32, _ int64) bool { return pgno > n })
		if n == 0 {
			tx.Counter = tx.View.State.Counter.Load() // a new database was rolled back
		}
	}
	if n != tx.Size {
		tx.Size, tx.least = n, min(tx.least, n)
		tx.change()
	}
	return nil
}

// change notes that something was changed.
func (tx *Transaction) change() {
	switch tx.state {
	case txClean:
		tx.state = txDirty
	case txSealed:
		tx.state = txReopened
	}
}

// Seal notes that everything that was changed is in the write buffer.
func (tx *Transaction) Seal() { tx.state, tx.Resized = txSealed, false }

// IsDirty reports whether something was changed that is not in the write buffer.
func (tx *Transaction) IsDirty() bool { return tx.state == txDirty || tx.state == txReopened }

// Changes reports whether a read has to look here first.
func (tx *Transaction) Changes() bool { return tx != nil && tx.Err == nil && tx.state != txClean }

// Read fills p from the page that holds offset off, to the end of the page at
// most. Done reports whether the transaction has changed that page; at the end of
// the database done is set, and the error is io.EOF.
func (tx *Transaction) Read(p []byte, off int64) (n int, done bool, err error) {
	size := int64(tx.PageSize)
	pgno, in := uint32(off/size)+1, off%size
	if pgno > tx.Size {
		return 0, true, io.EOF
	}
	p = p[:min(int64(len(p)), size-in)]
	if slot, ok := tx.slots[pgno]; ok {
		n, err := tx.data.ReadAt(p, slot*size+in)
		if n == len(p) {
			err = nil
		}
		return n, true, err
	}
	if pgno > tx.least {
		clear(p) // cut off and grown again
		return len(p), true, nil
	}
	return 0, false, nil
}

// commitSize returns the size that the database has after the commit, pages. Page
// 1 says it, as SQLite truncates the file later.
func (tx *Transaction) commitSize() (uint32, error) {
	if tx.Resized {
		return tx.Size, nil
	}
	slot, ok := tx.slots[1]
	if !ok {
		return tx.Size, nil
	}
	hdr := make([]byte, dbheader.Size)
	if _, err := tx.data.ReadAt(hdr, slot*int64(tx.PageSize)); err != nil && err != io.EOF {
		return 0, fmt.Errorf("read page 1 of the transaction: %w", err)
	}
	if _, err := dbheader.Check(hdr, tx.PageSize); err != nil {
		return 0, fmt.Errorf("page 1 of the transaction: %w", err)
	}
	n := binary.BigEndian.Uint32(hdr[dbheader.OffCommit:])
	if n == 0 || binary.BigEndian.Uint32(hdr[dbheader.OffChangeCounter:]) != binary.BigEndian.Uint32(hdr[dbheader.OffVersionValid:]) {
		n = tx.Size
	}
	return n, nil
}

// pgnos returns the pages that were changed, up to a size, in ascending order.
func (tx *Transaction) pgnos(size uint32) []uint32 {
	all := slices.Sorted(maps.Keys(tx.slots))
	n, _ := slices.BinarySearch(all, size+1)
	return all[:n]
}

// page fills p with a page that was changed.
func (tx *Transaction) page(pgno uint32, p []byte) error {
	n, err := tx.data.ReadAt(p, tx.slots[pgno]*int64(tx.PageSize))
	if n == len(p) {
		return nil
	}
	return fmt.Errorf("read page %d of the transaction: %w", pgno, err)
}

// Drop forgets what was changed, and returns memory for the next transaction.
func (tx *Transaction) Drop() []byte {
	memory := tx.data.Spare()
	_ = tx.data.Close() // nothing of it is kept
	return memory
}
