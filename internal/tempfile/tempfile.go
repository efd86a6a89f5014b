// Package tempfile holds temporary data. Small data stays in memory, and larger
// data goes to a file that no other process sees.
package tempfile

import (
	"fmt"
	"io"
	"os"
)

// Spill is how large a file grows in memory, in bytes.
const Spill = 1 << 20

// File is a temporary file. It lives in memory, and beyond Spill in a file in
// the folder that SQLite uses for its own temporary files. That file is
// unlinked at once, so that a killed process leaves nothing behind. The zero
// File is empty. It is not safe for concurrent use.
type File struct {
	mem  []byte
	disk *os.File // nil until the file is spilled
	path string   // path of disk if the system cannot unlink an open file
}

// New returns an empty file that uses memory that Spare returned.
func New(memory []byte) File { return File{mem: memory[:0]} }

// ReadAt implements io.ReaderAt. At the end of the file a read of no bytes is io.EOF,
// too, which package superjournal relies on.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read temp file: negative offset %d", off)
	}
	if f.disk != nil {
		n, err := f.disk.ReadAt(p, off)
		if err != nil && err != io.EOF {
			return n, fmt.Errorf("read temp file: %w", err)
		}
		return n, err
	}
	if off >= int64(len(f.mem)) {
		return 0, io.EOF
	}
	n := copy(p, f.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt. A gap before off is filled with zeros.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("write temp file: negative offset %d", off)
	}
	end := off + int64(len(p))
	if f.disk == nil && end > Spill {
		if err := f.spill(); err != nil {
			return 0, err
		}
	}
	if f.disk != nil {
		n, err := f.disk.WriteAt(p, off)
		if err != nil {
			return n, fmt.Errorf("write temp file: %w", err)
		}
		return n, nil
	}
	f.growTo(end)
	return copy(f.mem[off:], p), nil
}

// growTo makes the file at least n bytes long. The new bytes are zero.
func (f *File) growTo(n int64) {
	if more := n - int64(len(f.mem)); more > 0 {
		f.mem = append(f.mem, make([]byte, more)...)
	}
}

// maxSpare is the largest memory that Spare returns, in bytes. Small
// transactions need no more, and there may be many connections.
const maxSpare = 64 << 10

// Spare returns the memory of the file for New, nil if it is not worth keeping.
// The caller closes the file next.
func (f *File) Spare() []byte {
	if cap(f.mem) > maxSpare {
		return nil
	}
	return f.mem[:0]
}

// spill moves the content to a file on disk.
func (f *File) spill() error {
	dir, err := folder()
	if err != nil {
		return err
	}
	disk, err := os.CreateTemp(dir, "litestream-*.tmp")
	if err != nil {
		return fmt.Errorf("create temp file: %w", err)
	}
	path := ""
	if err := os.Remove(disk.Name()); err != nil {
		path = disk.Name()
	}
	if _, err := disk.WriteAt(f.mem, 0); err != nil {
		_ = closeTemp(disk, path)
		return fmt.Errorf("write temp file: %w", err)
	}
	f.disk, f.path, f.mem = disk, path, nil
	return nil
}

func closeTemp(disk *os.File, path string) error {
	err := disk.Close()
	if path != "" {
		_ = os.Remove(path)
	}
	return err
}

// Truncate sets the size. New bytes are zero.
func (f *File) Truncate(size int64) error {
	switch {
	case size < 0:
		return fmt.Errorf("truncate temp file: negative size %d", size)
	case f.disk != nil:
		if err := f.disk.Truncate(size); err != nil {
			return fmt.Errorf("truncate temp file: %w", err)
		}
	case size <= int64(len(f.mem)):
		clear(f.mem[size:])
		f.mem = f.mem[:size]
	case size <= Spill:
		f.growTo(size)
	default:
		if err := f.spill(); err != nil {
			return err
		}
		return f.Truncate(size)
	}
	return nil
}

// FileSize returns the size in bytes.
func (f *File) FileSize() (int64, error) {
	if f.disk == nil {
		return int64(len(f.mem)), nil
	}
	info, err := f.disk.Stat()
	if err != nil {
		return 0, fmt.Errorf("size of temp file: %w", err)
	}
	return info.Size(), nil
}

// Close deletes the content. The file is empty then, and can be used again.
func (f *File) Close() error {
	f.mem = nil
	if f.disk == nil {
		return nil
	}
	err := closeTemp(f.disk, f.path)
	f.disk = nil
	if err != nil {
		return fmt.Errorf("close temp file: %w", err)
	}
	return nil
}
