//go:build !linux

package main

import "syscall"

func chroot(string) (*syscall.SysProcAttr, string) {
	return nil, "the test changes the root directory on Linux only"
}
