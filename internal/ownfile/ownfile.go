// Package ownfile opens, creates, renames and removes local files at paths that
// a user configured. It changes only files that provably belong to this
// library.
//
// A file belongs to the library if the library creates it, or if it is a
// regular file whose content a Check recognises. An empty file contains no data
// of other programs and may be used. The package examines the file at a path
// before it opens the file: it does not follow symbolic links, and it does not
// open named pipes or devices. If the path names another file by the time of
// the open, the package notices that and treats the file as a foreign one.
package ownfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrForeign means that the file at a path does not belong to the library. The
// file is left untouched.
var ErrForeign = errors.New("not a file of this library; it was not touched")

// Check returns nil if an open file belongs to the library, and otherwise the
// reason why it does not. The file is regular and open at least for reading.
type Check func(f *os.File, info fs.FileInfo) error

// BeginsWith returns a Check that accepts empty files and files that begin with
// one of the texts.
func BeginsWith(texts ...string) Check {
	return func(f *os.File, info fs.FileInfo) error {
		if info.Size() == 0 {
			return nil
		}
		for _, text := range texts {
			b := make([]byte, len(text))
			n, err := f.ReadAt(b, 0)
			if err != nil && err != io.EOF {
				return err
			}
			if n == len(text) && string(b) == text {
				return nil
			}
		}
		return fmt.Errorf("it has %d bytes of something else", info.Size())
	}
}

// Create creates a new file that only the current user can read and write. It
// returns fs.ErrExist if anything exists at the path, even a dangling symbolic
// link.
func Create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
}

// Open opens an existing file. flag is os.O_RDONLY or os.O_RDWR; the latter can
// be combined with os.O_APPEND. Open returns ErrForeign if the file does not
// belong to the library. If another process replaces the file meanwhile, which this
// library does, Open opens the next one.
func Open(path string, flag int, ours Check) (f *os.File, err error) {
	for range attempts {
		if f, err = openOnce(path, flag, ours); !errors.Is(err, errReplaced) {
			return f, err
		}
	}
	return nil, err
}

var errReplaced = errors.New("it was replaced just now")

// openOnce is Open, except that it returns errReplaced.
func openOnce(path string, flag int, ours Check) (*os.File, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := checkKind(path, before); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, flag|noFollow, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !os.SameFile(before, info):
		err = foreign(path, errReplaced)
	case ours != nil:
		if why := ours(f, info); why != nil {
			err = foreign(path, why)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// checkKind returns an error if the file at a path cannot belong to the
// library, whatever its content is.
func checkKind(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return checkOwner(path, info)
	case mode.IsDir():
		return foreign(path, errors.New("it is a directory"))
	case mode&fs.ModeSymlink != 0:
		return foreign(path, errors.New("it is a symbolic link"))
	default:
		return foreign(path, fmt.Errorf("it is not a regular file, but %s", mode.Type()))
	}
}

func foreign(path string, why error) error {
	return fmt.Errorf("%s: %w: %w", path, ErrForeign, why)
}

// attempts is the number of attempts of Open and OpenOrCreate. An attempt fails if
// the file is created, replaced or removed meanwhile.
const attempts = 10

// OpenOrCreate opens a file for reading and writing as Open does. If the file
// does not exist, OpenOrCreate creates it.
func OpenOrCreate(path string, ours Check) (f *os.File, created bool, err error) {
	for range attempts {
		if f, err = Create(path); err == nil {
			return f, true, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, false, err
		}
		if f, err = Open(path, os.O_RDWR, ours); !errors.Is(err, fs.ErrNotExist) {
			return f, false, err
		}
	}
	return nil, false, err
}

// IsAt reports whether path names the open file f itself, not a symbolic link
// to it.
func IsAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// Remove removes path if it still names the open file f.
func Remove(f *os.File, path string) error {
	if !IsAt(f, path) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename renames a file. It returns fs.ErrExist if the new name exists.
func Rename(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
		return err
	}
	// The file system does not support hard links.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rename %s to %s: %w", from, to, fs.ErrExist)
	}
	return os.Rename(from, to)
}

// Replace atomically creates a file with the given content or replaces a file
// that belongs to the library. The content is durable when Replace returns; the
// caller must make the name durable. A killed process may have left a file at
// the path with the suffix ".tmp". It is replaced if it belongs to the library.
func Replace(path string, content []byte, ours Check) error {
	f, err := ReplaceOpen(path, content, ours)
	if err != nil {
		return err
	}
	return f.Close()
}

// ReplaceOpen is Replace, and returns the new file, open for reading and writing
// at its end.
func ReplaceOpen(path string, content []byte, ours Check) (*os.File, error) {
	return ReplaceLike(path, content, ours, nil)
}

// ReplaceLike is ReplaceOpen for a file that belongs to another one. The new file
// gets the owner, the group and the permissions of that one, as far as this user
// may give them, so that whoever uses the one can use the other. Otherwise a
// program that root runs once would lock out the user of the files. A nil file is
// none.
func ReplaceLike(path string, content []byte, ours Check, like *os.File) (*os.File, error) {
	return ReplaceWith(path, func(*os.File) ([]byte, error) { return content, nil }, ours, like)
}

// ReplaceWith is ReplaceLike for content that depends on the new file, as its
// identity does. The file is empty when content is called.
func ReplaceWith(path string, content func(f *os.File) ([]byte, error), ours Check, like *os.File) (*os.File, error) {
	temp := path + ".tmp"
	if err := RemoveOwn(temp, ours); err != nil {
		return nil, err
	}
	f, err := Create(temp)
	if err != nil {
		return nil, err
	}
	if like != nil {
		err = KeepOwner(f, like)
	}
	var b []byte
	if err == nil {
		b, err = content(f)
	}
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = checkReplaceable(path, ours)
	}
	if err == nil && !IsAt(f, temp) {
		err = fmt.Errorf("%s was removed or replaced by another process", temp)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return nil, errors.Join(err, Remove(f, temp), f.Close())
	}
	return f, nil
}

// KeepOwner gives f the owner, the group and the permissions of another file, as far
// as this user may.
func KeepOwner(f, like *os.File) error {
	info, err := like.Stat()
	if err != nil {
		return err
	}
	keepOwner(f, info)
	return nil
}

// checkReplaceable returns an error if a file exists at the path that does not
// belong to the library.
func checkReplaceable(path string, ours Check) error {
	f, err := Open(path, os.O_RDONLY, ours)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// RemoveOwn removes a file if it belongs to the library. It returns nil if the
// file does not exist.
func RemoveOwn(path string, ours Check) error {
	f, err := Open(path, os.O_RDONLY, ours)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(Remove(f, path), f.Close())
}
