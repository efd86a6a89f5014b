package main

import (
	"os"
	"syscall"
)

// chroot returns the attributes of a process that sees only the folder dir, or why
// there is none.
func chroot(dir string) (within *syscall.SysProcAttr, reason string) {
	if os.Geteuid() != 0 {
		return nil, "only root can change the root directory of a process"
	}
	return &syscall.SysProcAttr{Chroot: dir}, ""
}
