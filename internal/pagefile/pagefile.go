// Package pagefile is a local file that is written and read by many at once,
// read through a memory map where the system has one.
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

// ErrLocked means that another process, or another File of this one, has the
// file open.
var ErrLocked = errors.New("file is in use")

// segmentSize is how much of the file one memory map is of, bytes. Maps may go
// beyond the end of the file, and stay as they are when it grows.
const segmentSize = 64 << 20

// mostMapped is how much of a file is mapped at most, bytes. What lies beyond
// is read by system calls: a process may have some 65,000 maps, all told.
const mostMapped = 512 << 30

// File is a local file. It is safe for concurrent use, but for Close, which
// no write may be under way for; reads may be.
type File struct {
	f    *os.File
	path string
	temp bool // the path is not the file's any more, or is to be removed

	created bool // by Open

	maps   atomic.Pointer[[][]byte] // memory maps of the segments; nil where there are none
	closed atomic.Bool

	mu   sync.Mutex // duty: growing
	size int64      // guarded by mu; bytes
}

// CreateTemp makes an empty file in the folder for temporary files that goes
// away with the process, where the system allows.
func CreateTemp() (*File, error) {
	f, err := os.CreateTemp("", "litestream-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	file := &File{f: f, path: f.Name(), temp: true}
	_ = os.Remove(file.path) // if that cannot be, Close does it
	return file, nil
}

// Open opens a file, or makes an empty one, and locks it against others that
// open it so. The error is ErrLocked if somebody has, and ownfile.ErrForeign if
// there is something that ours does not recognise.
func Open(path string, ours ownfile.Check) (*File, error) {
	f, created, err := ownfile.OpenOrCreate(path, ours)
	if err != nil {
		return nil, err
	}
	err = lock(f)
	if err == nil && !ownfile.IsAt(f, path) {
		err = fmt.Errorf("open %s: %w", path, ErrLocked) // by who put another one there meanwhile
	}
	var info os.FileInfo
	if err == nil {
		info, err = f.Stat() // it may have changed before it was locked
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f: f, path: path, size: info.Size(), created: created}, nil
}

// Path returns the file's path. That of a temporary file is mostly gone.
func (f *File) Path() string { return f.path }

// IsThere reports whether the file can still be found by its path.
func (f *File) IsThere() bool { return ownfile.IsAt(f.f, f.path) }

// IsNew reports whether Open made the file.
func (f *File) IsNew() bool { return f.created }

// Remove removes the file's name, if it still is the file's.
func (f *File) Remove() error { return ownfile.Remove(f.f, f.path) }

// CheckSize tells whether somebody else has cut the file off. What is written
// after that would leave a hole, which reads as zeros.
func (f *File) CheckSize() error {
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if want := f.Size(); info.Size() < want {
		return fmt.Errorf("%s was cut off: it has %d of %d bytes", f.path, info.Size(), want)
	}
	return nil
}

// Size returns how long the file is, as far as this File knows, bytes.
func (f *File) Size() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size
}

// Grow makes the file at least n bytes long, the new ones zero and mostly not
// taken from the disk yet.
func (f *File) Grow(n int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n > f.size {
		if err := f.f.Truncate(n); err != nil {
			return fmt.Errorf("grow %s: %w", f.path, err)
		}
		f.size = n
	}
	return f.mapTo(n)
}

// mapTo maps the first n bytes. Called under mu.
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
			break // reads are system calls: there is no such thing here, or no room
		}
		maps = append(maps, m) // beyond what readers of the old slice see
	}
	if len(maps) > had {
		f.maps.Store(&maps)
	}
	return nil
}

// ReadAt fills p from offset off. What lies beyond the end is an error, and so
// is what somebody cut off the file meanwhile.
func (f *File) ReadAt(p []byte, off int64) error {
	if maps := f.maps.Load(); maps != nil && off >= 0 {
		i, in := off/segmentSize, off%segmentSize
		if i < int64(len(*maps)) && in+int64(len(p)) <= segmentSize {
			err := copyFrom(p, (*maps)[i][in:])
			if f.closed.Load() {
				err = fs.ErrClosed // it may have been another's memory
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
	return nil
}

// copyFrom fills dst from mapped memory, which faults where there is no file
// or the disk cannot be read.
func copyFrom(dst, mapped []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("memory map: %v", r)
		}
	}()
	copy(dst, mapped)
	return nil
}

// WriteAt writes p at offset off, all of it or an error.
func (f *File) WriteAt(p []byte, off int64) error {
	_, err := f.f.WriteAt(p, off) // says operation and path
	return err
}

// Sync has what was written survive the loss of power.
func (f *File) Sync() error { return f.f.Sync() }

// Reset empties the file.
func (f *File) Reset() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.f.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", f.path, err)
	}
	f.size = 0
	return nil
}

// Close closes the file, and removes it if it is temporary. Reads fail from
// then on.
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
	errs = append(errs, f.f.Close())
	return errors.Join(errs...)
}
