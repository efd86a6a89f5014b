//go:build !(darwin || freebsd || linux)

package ownfile

import "io/fs"

// Number returns the number that a file has in its file system, 0 where the
// system has none. A copy of a file has another.
func Number(fs.FileInfo) uint64 { return 0 }
