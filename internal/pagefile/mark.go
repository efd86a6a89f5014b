package pagefile

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

// A file that is opened with OpenMarked ends with a mark: markMagic and the ID
// of the file. A copy of the file has the same mark. A file that was cut off has
// none, also if it has grown again since. So a read through the memory map that
// finds the mark in its place afterwards has not read zeros of such a file.

const (
	markMagic = "litestream pages" // 16 bytes

	// MarkSize is the size of a mark, in bytes.
	MarkSize = len(markMagic) + len(ID{})
)

// ID tells the content of files apart that have the same path one after the
// other.
type ID [16]byte

// String formats an ID as hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// mark is the mark of an open file.
type mark struct {
	id   ID
	text [MarkSize]byte
	at   atomic.Int64 // offset of the mark, which is where the pages end; 0: it is not written yet
}

func newMark(id ID) *mark {
	m := &mark{id: id}
	copy(m.text[copy(m.text[:], markMagic):], id[:])
	return m
}

// errNoMark means that a file has no mark where it should have one.
var errNoMark = errors.New("its end is missing: the file was cut off")

// readMark returns the mark at the end of a file of a size, nil if there is
// none.
func readMark(f *os.File, size int64) *mark {
	b := make([]byte, MarkSize)
	if size <= int64(MarkSize) {
		return nil
	}
	if n, _ := f.ReadAt(b, size-int64(MarkSize)); n < len(b) || string(b[:len(markMagic)]) != markMagic {
		return nil
	}
	m := newMark(ID(b[len(markMagic):]))
	m.at.Store(size - int64(MarkSize))
	return m
}

// OpenMarked is Open for a file with a mark. A file without one gets a new ID,
// and its mark as soon as it grows. IsMarked tells whether the file had a mark.
func OpenMarked(path string, ours ownfile.Check) (f *File, isMarked bool, err error) {
	f, err = Open(path, ours)
	if err != nil {
		return nil, false, err
	}
	f.mark = readMark(f.f, f.size)
	if f.mark != nil {
		f.size -= int64(MarkSize)
		return f, true, nil
	}
	f.mark = newMarkedID()
	return f, false, nil
}

// newMarkedID returns a mark with a new ID.
func newMarkedID() *mark {
	var id ID
	_, _ = rand.Read(id[:]) // it never returns an error
	return newMark(id)
}

// CreateMarked creates a file with a new ID in place of old, which is the one at a
// path and which replaces tells to be replaceable, and locks it. The file has its
// mark already. Other processes see the old file or the new one.
func CreateMarked(path string, old *File, replaces func() error) (*File, error) {
	temp := path + ".new"
	if err := ownfile.RemoveOwn(temp, isLeftover); err != nil {
		return nil, err
	}
	f, err := Open(temp, nil)
	if err != nil {
		return nil, err
	}
	f.mark = newMarkedID()
	if old != nil {
		err = ownfile.KeepOwner(f.f, old.f)
	}
	if err == nil {
		err = f.Grow(int64(MarkSize)) // anything but 0
	}
	if err == nil {
		err = replaces()
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Remove(), f.Close())
	}
	f.path = path
	return f, nil
}

// isLeftover accepts what CreateMarked leaves behind in a process that is killed:
// a file without pages that no process has locked. A file with pages is that of
// another database.
func isLeftover(f *os.File, info fs.FileInfo) error {
	if size := info.Size(); size > 0 && (size > 2*int64(MarkSize) || readMark(f, size) == nil) {
		return errors.New("it is not a file that was about to replace another one")
	}
	return lock(f)
}

// OpenShared opens a file with a mark for reads, while another File may have it
// locked. The file must be in use by this library, which the mark tells.
func OpenShared(path string) (*File, error) {
	f, err := ownfile.Open(path, os.O_RDONLY, func(f *os.File, info fs.FileInfo) error {
		if readMark(f, info.Size()) == nil {
			return errNoMark
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	var m *mark
	if err == nil {
		if m = readMark(f, info.Size()); m == nil {
			err = fmt.Errorf("open %s: %w", path, errNoMark) // it is growing just now
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	file := &File{f: f, path: path, size: m.at.Load(), mark: m}
	file.mu.Lock()
	defer file.mu.Unlock()
	_ = file.mapTo(info.Size())
	return file, nil
}

// ID returns the ID of a file with a mark.
func (f *File) ID() ID { return f.mark.id }

// Identity tells the file from others, and from copies of it.
func (f *File) Identity() ownfile.Identity { return ownfile.IdentityOf(f.f) }

// Handle returns the open file, which is closed by Close only.
func (f *File) Handle() *os.File { return f.f }

// IDAt returns the ID of the file at a path. It returns false if that has no
// mark.
func IDAt(path string) (ID, bool) {
	f, err := ownfile.Open(path, os.O_RDONLY, nil)
	if err != nil {
		return ID{}, false
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return ID{}, false
	}
	m := readMark(f, info.Size())
	if m == nil {
		return ID{}, false
	}
	return m.id, true
}

// MarkAt returns where the mark of the file is, 0 if it is not written yet.
func (f *File) MarkAt() int64 { return f.mark.at.Load() }

// ReadShared is ReadAt for a File of OpenShared. The File that has it locked has
// moved the mark to an offset.
func (f *File) ReadShared(p []byte, off, markAt int64) error {
	if markAt != f.mark.at.Load() {
		if err := f.followMark(markAt); err != nil {
			return err
		}
	}
	return f.ReadAt(p, off)
}

// followMark maps a File of OpenShared up to the mark.
func (f *File) followMark(at int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if at <= 0 || info.Size() < at+int64(MarkSize) {
		return fmt.Errorf("read %s: %w", f.path, errNoMark)
	}
	f.size = at
	_ = f.mapTo(at + int64(MarkSize)) // what cannot be mapped is not read
	f.mark.at.Store(at)
	return nil
}

// TryLock locks a File of OpenShared as Open does, until it is closed. It returns
// ErrLocked if another File has the lock.
func (f *File) TryLock() error { return lock(f.f) }

// length returns the length of the file on the disk, as far as this File knows.
func (f *File) length() int64 {
	size := f.Size()
	if f.mark != nil && f.mark.at.Load() > 0 {
		size += int64(MarkSize)
	}
	return size
}

// growMarked makes room for n bytes before the mark, which it moves. The write of
// the mark makes the file longer, so the file has a mark at its end at any time.
// The caller holds mu.
func (f *File) growMarked(n int64) error {
	old := f.mark.at.Load()
	if n == old || n == 0 {
		return nil
	}
	if _, err := f.f.WriteAt(f.mark.text[:], n); err != nil {
		return err
	}
	f.size = n
	f.mark.at.Store(n)
	if old > 0 {
		_, err := f.f.WriteAt(make([]byte, min(int64(MarkSize), n-old)), old)
		return err
	}
	return nil
}

// mapped returns the mapped memory of the mark, nil if it has none, and where the
// mark is.
func (f *File) mapped(maps [][]byte) (mark []byte, at int64) {
	if f.mark == nil {
		return nil, 0
	}
	at = f.mark.at.Load()
	i, in := at/segmentSize, at%segmentSize
	if at == 0 || i >= int64(len(maps)) || in+int64(MarkSize) > segmentSize {
		return nil, at
	}
	return maps[i][in : in+int64(MarkSize)], at
}

// missing returns an error if the mark is not at an offset, where it was when a
// page was read.
func (f *File) missing(at int64) error {
	if at == 0 {
		return nil // this process has emptied the file, or has not written the mark yet
	}
	var b [MarkSize]byte
	if _, err := f.f.ReadAt(b[:], at); err != nil || b != f.mark.text {
		if f.mark.at.Load() == at { // it has not moved
			return errors.Join(errNoMark, err)
		}
	}
	return nil
}
