//go:build darwin || freebsd

package ownfile

import (
	"os"
	"syscall"
)

func identityOf(f *os.File) Identity {
	i := statIdentity(f)
	if info, err := f.Stat(); err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			i.Born = s.Birthtimespec.Nano()
		}
	}
	return i
}
