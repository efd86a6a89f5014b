//go:build unix

package file

import "syscall"

// noWait makes the open of a named pipe return at once.
const noWait = syscall.O_NONBLOCK
