//go:build darwin || freebsd || linux

package litestream

import "syscall"

// canWriteTo tells whether files can be made in a folder.
func canWriteTo(dir string) bool {
	const write, search = 2, 1 // W_OK, X_OK
	return syscall.Access(dir, write|search) == nil
}
