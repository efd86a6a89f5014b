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

// statIdentity returns what all these systems tell of the identity of a file.
func statIdentity(f *os.File) Identity {
	info, err := f.Stat()
	if err != nil {
		return Identity{}
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Identity{}
	}
	return Identity{Device: uint64(s.Dev), Number: uint64(s.Ino), Names: uint64(s.Nlink)}
}

// keepOwner gives f the owner, the group and the permissions of another file, as far
// as this user may.
func keepOwner(f *os.File, like fs.FileInfo) {
	s, ok := like.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	if f.Chown(int(s.Uid), int(s.Gid)) != nil {
		_ = f.Chown(-1, int(s.Gid)) // a user may give a file to a group of their own
	}
	_ = f.Chmod(like.Mode().Perm() &^ 0o111)
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
