//go:build darwin || linux

package pageshare

import (
	"encoding/binary"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/superfly/ltx"
)

// cannotWrite makes stores to the mapped memory of an owner fault, as they do on a
// full disk if the file system writes each change to another place. Loads fault, too:
// with the race detector a store that follows a load would fault in C.
func cannotWrite(t *testing.T, o *Table) {
	t.Helper()
	for _, m := range append(*o.words.Load(), o.head) {
		if err := unix.Mprotect(m, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
}

// An owner that can write neither the word of a page nor the head of the table
// overwrites pages from then on. Borrowers do not believe the words of before.
func TestTable_CannotWithdraw(t *testing.T) {
	o, b := ownerAndBorrower(t)
	o.Publish(Published{TXID: 7})
	o.Put(3, []ltx.TXID{5})
	s, _ := b.Status()
	if !read(b, s.Generation, 3, func() {}) {
		t.Fatal("it is not there")
	}
	cannotWrite(t, o)
	o.Clear(3)
	if read(b, s.Generation, 3, func() {}) {
		t.Error("a word is believed")
	}
	if err := o.Err(); err != nil || o.IsIntact() {
		t.Errorf("intact: %v, error %v", o.IsIntact(), err)
	}
	if _, err := Open(o.path, testID); err == nil {
		t.Error("it can be opened")
	}
}

// A child that is forked during an election does not keep the others from electing.
// A duplicate of a descriptor shares the lock, as the child's does.
func TestTable_ElectionOfChild(t *testing.T) {
	o, b := ownerAndBorrower(t)
	for i, end := range []func(){b.EndElection, func() { _ = b.Close() }} {
		if !b.Elect() || o.Elect() {
			t.Fatal("one of two elects")
		}
		fd, err := unix.Dup(int(b.f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		end()
		if !o.Elect() {
			t.Errorf("the child keeps the lock, %d", i)
		}
		o.EndElection()
		_ = unix.Close(fd)
	}
}

// If not even the file can be emptied, the owner must not overwrite a page.
func TestTable_CannotEmpty(t *testing.T) {
	o, b := ownerAndBorrower(t)
	o.Put(3, []ltx.TXID{5})
	s, _ := b.Status()
	cannotWrite(t, o)
	f, err := os.Open(o.path) // which cannot be truncated
	if err != nil {
		t.Fatal(err)
	}
	defer func(f *os.File) { _ = f.Close() }(o.f)
	o.f = f
	o.Clear(3)
	if err := o.Err(); err == nil {
		t.Errorf("no error, and the word is believed: %v", read(b, s.Generation, 3, func() {}))
	}
}

// The state of a table that is withdrawn changes before its generation: see Anchors.
// Here the two are in different pages of memory, and the page with the generation
// cannot be written.
func TestTable_WithdrawOrder(t *testing.T) {
	o, _ := ownerAndBorrower(t)
	o.Publish(Published{TXID: 7})
	page := os.Getpagesize()
	m, err := unix.Mmap(-1, 0, page+headSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(m) }()
	at := page - int(unsafe.Offsetof(head{}.generation))
	copy(m[at:], o.head)
	if err := unix.Mprotect(m[page:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	defer func(h []byte) { o.head = h }(o.head)
	o.head = m[at:]
	state := func() State { return State(binary.NativeEndian.Uint64(m[page-8:])) }
	if s := state(); s != InUse {
		t.Fatalf("what is before the generation is %v", s)
	}
	if o.Withdraw(); state() != Withdrawn {
		t.Errorf("the table is %v when its generation changes", state())
	}
}
