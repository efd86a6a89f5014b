//go:build darwin || freebsd || linux

package ownfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// noFollow has opening fail at a symbolic link, and not wait for the other end
// of a named pipe.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// Number returns the number that a file has in its file system, 0 where the
// system has none. A copy of a file has another.
func Number(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}

// checkOwner refuses files of other users in folders where everybody may make
// some, such as /tmp: their content proves nothing.
func checkOwner(path string, info fs.FileInfo) error {
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || dir.Mode()&fs.ModeSticky == 0 || dir.Mode().Perm()&0o002 == 0 || int(s.Uid) == os.Geteuid() {
		return nil
	}
	return foreign(path, errors.New("another user made it in a folder that everybody may write to"))
}
