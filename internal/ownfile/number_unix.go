//go:build darwin || freebsd || linux

package ownfile

import (
	"io/fs"
	"syscall"
)

// Number returns the number that a file has in its file system, 0 where the
// system has none. A copy of a file has another.
func Number(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Ino)
	}
	return 0
}
