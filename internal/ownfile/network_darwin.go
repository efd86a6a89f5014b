package ownfile

import "golang.org/x/sys/unix"

// Network returns the name of the network file system that a path is on, or an empty
// name for a local one.
func Network(path string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil || st.Flags&unix.MNT_LOCAL != 0 {
		return ""
	}
	return unix.ByteSliceToString(st.Fstypename[:])
}
