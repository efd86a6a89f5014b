//go:build darwin || freebsd || linux

package ownfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// noFollow makes an open fail at a symbolic link, and prevents it from waiting
// for the other end of a named pipe.
const noFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// Number returns the number of a file in its file system, or 0 if the system
// does not provide one. A copy of a file has another number.
func Number(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}

// checkOwner rejects files of other users in directories where every user may
// create files, such as /tmp. The content of such a file proves nothing.
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
