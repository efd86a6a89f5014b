// Package pagefile provides a local file that many goroutines write and read at
// once. The file is read through a memory map if the system supports that.
package pagefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

// ErrLocked means that another process, or another File of this process, has
// the file open.
var ErrLocked = errors.New("file is in use")

// errFault means that mapped memory could not be read.
var errFault = errors.New("the file was cut off, or the disk cannot be read")

// segmentSize is the size of one memory map, in bytes. A map may extend beyond
// the end of the file, and it remains valid when the file grows.
const segmentSize = 64 << 20

// mostMapped is the maximum number of bytes of a file that are mapped. The rest
// is read with system calls, because a process can have only about 65,000 maps
// in total.
const mostMapped = 512 << 30

// File is a local file. It is safe for concurrent use, except that no write may
// be in progress when Close is called. Reads may be in progress.
type File struct {
	f    *os.File
	path string
	temp bool // Close removes the file if path still names it

	created bool // Open created the file

	// mark is at the end of a file that OpenMarked opened; nil: there is none.
	mark *mark

	maps   atomic.Pointer[[][]byte] // memory maps of the segments; nil if there are none
	closed atomic.Bool

	mu   sync.Mutex // guards the growth of the file
	size int64      // guarded by mu; in bytes
}

// CreateTemp creates an empty file in the directory for temporary files. It disappears
// when the process ends, however that ends.
func CreateTemp() (*File, error) {
	f, err := ownfile.CreateTemp()
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	return &File{f: f, path: f.Name(), temp: true}, nil
}

// Open opens a file, or creates an empty one, and locks it against other calls
// of Open. It returns ErrLocked if another File holds the lock, and
// ownfile.ErrForeign if ours does not recognise the file.
func Open(path string, ours ownfile.Check) (*File, error) {
	f, created, err := ownfile.OpenOrCreate(path, ours)
	if err != nil {
		return nil, err
	}
	err = lock(f)
	if err == nil && !ownfile.IsAt(f, path) {
		err = fmt.Errorf("open %s: %w", path, ErrLocked) // another process replaced the file meanwhile
	}
	var info os.FileInfo
	if err == nil {
		info, err = f.Stat() // the size may have changed before the file was locked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f: f, path: path, size: info.Size(), created: created}, nil
}

// Path returns the path of the file. A temporary file usually has been removed
// from its path.
func (f *File) Path() string { return f.path }

// IsThere reports whether the path still names the file.
func (f *File) IsThere() bool { return ownfile.IsAt(f.f, f.path) }

// IsNew reports whether Open created the file.
func (f *File) IsNew() bool { return f.created }

// Remove removes the path if it still names the file.
func (f *File) Remove() error { return ownfile.Remove(f.f, f.path) }

// CheckSize returns an error if another program has truncated the file. A write
// after that would leave a hole, which reads as zeros.
func (f *File) CheckSize() error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if want := f.length(); info.Size() < want {
		return fmt.Errorf("%s was cut off: it has %d of %d bytes", f.path, info.Size(), want)
	}
	return nil
}

// Size returns the size of the file in bytes, as far as this File knows.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Grow makes the file at least n bytes long. The new bytes are zero, and most
// of them do not take space on the disk yet.
func (f *File) Grow(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.mark != nil:
		if err := f.growMarked(max(n, f.size)); err != nil {
			return fmt.Errorf("grow %s: %w", f.path, err)
		}
		n += int64(MarkSize)
	case n > f.size:
		if err := f.f.Truncate(n); err != nil {
			return fmt.Errorf("grow %s: %w", f.path, err)
		}
		f.size = n
	}
	return f.mapTo(n)
}

// mapTo maps the first n bytes. The caller holds mu.
func (f *File) mapTo(n int64) error {
	var maps [][]byte
	if old := f.maps.Load(); old != nil {
		maps = *old
	}
	had := len(maps)
	n = min(n, maxMapped(), mostMapped)
	for int64(len(maps))*segmentSize < n {
		m, err := mapSegment(f.f, int64(len(maps))*segmentSize, segmentSize)
		if err != nil {
			break // the system has no memory maps or no room for one, so reads use system calls
		}
		maps = append(maps, m) // readers of the old slice do not see the new element
	}
	if len(maps) > had {
		f.maps.Store(&maps)
	}
	return nil
}

// ReadAt fills p from offset off. It returns an error if the range extends
// beyond the end of the file, even if the file was truncated meanwhile.
func (f *File) ReadAt(p []byte, off int64) error {
	if maps := f.maps.Load(); maps != nil && off >= 0 {
		i, in := off/segmentSize, off%segmentSize
		if i < int64(len(*maps)) && in+int64(len(p)) <= segmentSize {
			found, at := f.mapped(*maps)
			intact, err := copyFrom(p, (*maps)[i][in:], found, f.mark)
			if err == nil && !intact {
				err = f.missing(at)
			}
			if f.closed.Load() {
				err = fs.ErrClosed // the memory may have been mapped for another purpose
			}
			if err != nil {
				return fmt.Errorf("read %s at %d: %w", f.path, off, err)
			}
			return nil
		}
	}
	if n, err := f.f.ReadAt(p, off); n < len(p) {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read %s at %d: %w", f.path, off, err)
	}
	if f.mark != nil {
		if err := f.missing(f.mark.at.Load()); err != nil {
			return fmt.Errorf("read %s at %d: %w", f.path, off, err)
		}
	}
	return nil
}

// copyFrom fills dst from mapped memory, and reports whether found is m afterwards,
// unless m is nil. An access to mapped memory faults if the file was truncated or
// the disk cannot be read.
func copyFrom(dst, mapped, found []byte, m *mark) (intact bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = errFault
		default:
			err = fmt.Errorf("memory map: %v", r)
		}
	}()
	copy(dst, mapped)
	return m == nil || string(found) == string(m.text[:]), nil
}

// WriteAt writes all of p at offset off, or returns an error.
func (f *File) WriteAt(p []byte, off int64) error {
	_, err := f.f.WriteAt(p, off) // the error contains the operation and the path
	return err
}

// Sync makes the writes durable, so that they survive a loss of power.
func (f *File) Sync() error { return f.f.Sync() }

// Reset truncates the file to zero bytes.
func (f *File) Reset() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.f.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", f.path, err)
	}
	f.size = 0
	if f.mark != nil {
		f.mark.at.Store(0)
	}
	return nil
}

// Close closes the file, and removes it if it is temporary. Reads return an
// error from then on.
func (f *File) Close() error {
	if f.closed.Swap(true) {
		return nil
	}
	var errs []error
	if maps := f.maps.Swap(nil); maps != nil {
		for _, m := range *maps {
			errs = append(errs, unmap(m))
		}
	}
	if f.temp {
		errs = append(errs, f.Remove())
	}
	// A child that was forked meanwhile has the same open file, and would keep the
	// lock. Closing is not enough.
	errs = append(errs, unlock(f.f), f.f.Close())
	return errors.Join(errs...)
}
