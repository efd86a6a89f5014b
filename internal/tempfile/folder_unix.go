//go:build darwin || freebsd || linux

package tempfile

import "syscall"

// canWriteTo reports whether files can be created in a folder.
func canWriteTo(dir string) bool {
	const write, search = 2, 1 // W_OK, X_OK
	return syscall.Access(dir, write|search) == nil
}
