// Package ownfile opens, makes, renames and removes local files at paths that
// somebody else names, and touches only files that are provably this library's.
//
// A file is ours if we make it, or if it is a regular file whose content a
// Check recognises. An empty file holds nothing of anybody and may be taken.
// What is at a path is looked at before it is opened, as it is: symbolic links
// are not followed, and named pipes and devices are not opened. Between the look
// and the use the path may come to name another file; that is noticed, and is
// the same as a foreign file.
package ownfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrForeign means that there is something at a path that is not ours, so that
// it was not touched.
var ErrForeign = errors.New("not a file of this library; it was not touched")

// Check returns why an open file is not ours, nil if it is. The file is
// regular, and open for reading at least.
type Check func(f *os.File, info fs.FileInfo) error

// BeginsWith returns a check that takes files that are empty, or begin with one
// of some texts.
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

// Create makes a new file, for reading and writing by this user only. The
// error is fs.ErrExist if there is anything at the path, such as a link that
// leads nowhere.
func Create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
}

// Open opens a file that is there, with flags that are os.O_RDONLY or
// os.O_RDWR, the latter with os.O_APPEND or not. The error is ErrForeign if it
// is not ours.
func Open(path string, flag int, ours Check) (*os.File, error) {
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
		err = foreign(path, errors.New("it was replaced just now"))
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

// checkKind returns why what is at a path cannot be ours, whatever it holds.
func checkKind(path string, info fs.FileInfo) error {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return checkOwner(path, info)
	case mode.IsDir():
		return foreign(path, errors.New("it is a directory"))
	case mode&fs.ModeSymlink != 0:
		return foreign(path, errors.New("it is a symbolic link"))
	default:
		return foreign(path, fmt.Errorf("it is no regular file, but %s", mode.Type()))
	}
}

func foreign(path string, why error) error {
	return fmt.Errorf("%s: %w: %w", path, ErrForeign, why)
}

// attempts is how often OpenOrCreate tries again because a file came or went.
const attempts = 10

// OpenOrCreate opens a file for reading and writing as Open does, or makes it.
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

// IsAt reports whether a path is that of an open file, and no link to it.
func IsAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// Remove removes the name of an open file, if it still is that file's.
func Remove(f *os.File, path string) error {
	if !IsAt(f, path) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Rename gives a file another name, if nothing has that: the error is
// fs.ErrExist then.
func Rename(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return os.Remove(from)
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
		return err
	}
	// The file system has no links.
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rename %s to %s: %w", from, to, fs.ErrExist)
	}
	return os.Rename(from, to)
}

// Replace makes a file with a content, or replaces one that is ours, at once.
// The content is durable; the caller sees to the name. What a killed process
// left of its attempt, a file at the path with ".tmp" at the end, is replaced if
// it is ours, too.
func Replace(path string, content []byte, ours Check) error {
	temp := path + ".tmp"
	if err := RemoveOwn(temp, ours); err != nil {
		return err
	}
	f, err := Create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = checkReplaceable(path, ours)
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, Remove(f, temp), f.Close())
	}
	return f.Close()
}

// checkReplaceable returns an error if there is a file that is not ours.
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

// RemoveOwn removes a file if it is ours. One that is not there is no error.
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
