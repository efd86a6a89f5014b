package ownfile

import (
	"os"

	"golang.org/x/sys/unix"
)

func identityOf(f *os.File) Identity {
	i := statIdentity(f)
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st); err != nil {
		return i // the system is too old, or forbids the call
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		i.Born = st.Btime.Sec*1e9 + int64(st.Btime.Nsec)
	}
	i.IsMount = st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	return i
}
