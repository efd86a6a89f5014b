package write

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/tempfile"
	"github.com/ltxvfs/litestream/internal/view"
)

// txState says how much of a transaction is in the write buffer.
type txState int

const (
	txClean    txState = iota // there are no changes
	txDirty                   // there are changes, and none is in the write buffer
	txSealed                  // all changes are in the write buffer, in unfinished commits
	txReopened                // there are changes since txSealed
)

func (s txState) String() string { return [...]string{"clean", "dirty", "sealed", "reopened"}[s] }

// Transaction holds the changes that the connection with the writer slot has not
// committed. No other connection sees them. It is not safe for concurrent use.
type Transaction struct {
	view     *view.View // the view that the transaction changes
	state    txState
	pageSize uint32
	slots    map[uint32]int64 // the place of each changed page in data, in pages
	data     tempfile.File
	used     int64  // number of slots in data
	size     uint32 // current size of the database, pages
	least    uint32 // smallest size since the transaction began, pages
	counter  uint32 // change counter in page 1
	wal      bool   // page 1 as written says WAL mode; it is read back without that
	resized  bool   // SQLite has set size after a commit; page 1 says another one
	err      error  // error of the first failed write, after which nothing is committed
}

var errPageSize = errors.New("the page size of a database cannot change: LTX files cannot express it")

// NewTransaction returns a transaction that changes view v. The transaction
// fills memory before it writes a temporary file. Memory is nil, or the result of
// an earlier transaction's Drop.
func NewTransaction(v *view.View, memory []byte) *Transaction {
	return &Transaction{
		data: tempfile.New(memory),
		view: v, pageSize: v.PageSize, slots: make(map[uint32]int64),
		size: v.Commit, least: v.Commit, counter: v.State.Counter.Load(),
	}
}

// View returns the view that the transaction changes.
func (tx *Transaction) View() *view.View { return tx.view }

// FileSize returns the current size of the database in bytes.
func (tx *Transaction) FileSize() int64 { return int64(tx.size) * int64(tx.pageSize) }

// Counter returns the change counter in page 1.
func (tx *Transaction) Counter() uint32 { return tx.counter }

// HasNewCounter reports whether the change counter is not that of the view.
func (tx *Transaction) HasNewCounter() bool { return tx.counter != tx.view.State.Counter.Load() }

// Err returns the error of the first write that failed, nil if none did. After
// an error nothing of the transaction is committed.
func (tx *Transaction) Err() error { return tx.err }

// Fail prevents the transaction from being committed, because of an error
// outside of it.
func (tx *Transaction) Fail(err error) { tx.err = err }

// Write changes a page. After an error SQLite writes only to undo the
// transaction. These writes are ignored and do not fail.
func (tx *Transaction) Write(p []byte, off int64) error {
	if tx.err != nil {
		return nil
	}
	tx.err = tx.writePage(p, off)
	return tx.err
}

func (tx *Transaction) writePage(p []byte, off int64) error {
	if tx.pageSize == 0 && ltx.IsValidPageSize(uint32(len(p))) {
		tx.pageSize = uint32(len(p)) // of a new database
	}
	size := int64(tx.pageSize)
	switch {
	case size == 0 || off < 0 || off%size != 0 || int64(len(p)) != size:
		return fmt.Errorf("write %d bytes at %d to pages of %d: %w", len(p), off, size, errPageSize)
	case off/size >= 1<<32-2:
		return fmt.Errorf("write at %d: the database would be too large", off)
	}
	pgno := uint32(off/size) + 1
	if pgno == ltx.LockPgno(tx.pageSize) {
		return fmt.Errorf("write page %d: it is the lock page", pgno)
	}
	if pgno == 1 {
		if hdr := int64(binary.BigEndian.Uint16(p[dbheader.OffPageSize:])); hdr != size && (hdr != 1 || size != 65536) {
			return fmt.Errorf("write page 1 with page size %d, not %d: %w", hdr, size, errPageSize)
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
	tx.size = max(tx.size, pgno)
	if pgno == 1 {
		tx.counter = binary.BigEndian.Uint32(p[dbheader.OffChangeCounter:])
		tx.wal = p[dbheader.OffWriteVersion] != 1 || p[dbheader.OffReadVersion] != 1
	}
	tx.change()
	return nil
}

// Resize sets the size of the database in bytes after a commit. From then on this
// size counts, and not the one in page 1, until Seal.
func (tx *Transaction) Resize(size int64) error {
	tx.resized = true
	return tx.Truncate(size)
}

// IsResized reports whether Resize was called since the last Seal.
func (tx *Transaction) IsResized() bool { return tx.resized }

// Truncate sets the size of the database in bytes.
func (tx *Transaction) Truncate(size int64) error {
	if tx.err != nil {
		return nil
	}
	if tx.pageSize == 0 || size < 0 || size%int64(tx.pageSize) != 0 || size/int64(tx.pageSize) >= 1<<32-1 {
		tx.err = fmt.Errorf("truncate to %d bytes: %w", size, errPageSize)
		return tx.err
	}
	n := uint32(size / int64(tx.pageSize))
	if n < tx.size {
		maps.DeleteFunc(tx.slots, func(pgno uint32, _ int64) bool { return pgno > n })
		if n == 0 {
			tx.counter = tx.view.State.Counter.Load() // a new database was rolled back
		}
	}
	if n != tx.size {
		tx.size, tx.least = n, min(tx.least, n)
		tx.change()
	}
	return nil
}

// change moves the state on after a page or the size was changed.
func (tx *Transaction) change() {
	switch tx.state {
	case txClean:
		tx.state = txDirty
	case txSealed:
		tx.state = txReopened
	}
}

// Seal marks all changes as written to the write buffer.
func (tx *Transaction) Seal() { tx.state, tx.resized = txSealed, false }

// IsDirty reports whether there are changes that are not in the write buffer.
func (tx *Transaction) IsDirty() bool { return tx.state == txDirty || tx.state == txReopened }

// Changes reports whether the transaction has changes that reads have to see. It
// may be called on a nil transaction, which has none.
func (tx *Transaction) Changes() bool { return tx != nil && tx.err == nil && tx.state != txClean }

// Read fills p from the page that holds offset off, to the end of the page at
// most. It sets done if the transaction has changed that page. Beyond the end of
// the database it sets done and returns io.EOF.
func (tx *Transaction) Read(p []byte, off int64) (n int, done bool, err error) {
	size := int64(tx.pageSize)
	pgno, in := uint32(off/size)+1, off%size
	if pgno > tx.size {
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

// commitSize returns the size of the database after the commit, in pages. It is
// taken from page 1, because SQLite truncates the file later.
func (tx *Transaction) commitSize() (uint32, error) {
	if tx.resized {
		return tx.size, nil
	}
	slot, ok := tx.slots[1]
	if !ok {
		return tx.size, nil
	}
	hdr := make([]byte, dbheader.Size)
	if _, err := tx.data.ReadAt(hdr, slot*int64(tx.pageSize)); err != nil && err != io.EOF {
		return 0, fmt.Errorf("read page 1 of the transaction: %w", err)
	}
	if _, err := dbheader.Check(hdr, tx.pageSize); err != nil {
		return 0, fmt.Errorf("page 1 of the transaction: %w", err)
	}
	n := binary.BigEndian.Uint32(hdr[dbheader.OffCommit:])
	if n == 0 || binary.BigEndian.Uint32(hdr[dbheader.OffChangeCounter:]) != binary.BigEndian.Uint32(hdr[dbheader.OffVersionValid:]) {
		n = tx.size
	}
	return n, nil
}

// pgnos returns the numbers of the changed pages up to size, in ascending order.
func (tx *Transaction) pgnos(size uint32) []uint32 {
	all := slices.Sorted(maps.Keys(tx.slots))
	n, _ := slices.BinarySearch(all, size+1)
	return all[:n]
}

// page fills p with a changed page.
func (tx *Transaction) page(pgno uint32, p []byte) error {
	n, err := tx.data.ReadAt(p, tx.slots[pgno]*int64(tx.pageSize))
	if n == len(p) {
		return nil
	}
	return fmt.Errorf("read page %d of the transaction: %w", pgno, err)
}

// Drop ends the transaction without its changes. It returns memory for the next
// NewTransaction.
func (tx *Transaction) Drop() []byte {
	memory := tx.data.Spare()
	_ = tx.data.Close() // nothing of it is kept
	return memory
}
