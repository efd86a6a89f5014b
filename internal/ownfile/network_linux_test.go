package ownfile

import "testing"

// File systems of other hosts are told from local ones.
func TestNetwork(t *testing.T) {
	for number, want := range map[uint32]string{
		0x6969: "NFS", 0xfe534d42: "SMB", 0xff534d42: "CIFS", 0x65735546: "FUSE", 0x01021997: "9P", 0x00c36400: "Ceph",
		0xef53: "", 0x58465342: "", 0x9123683e: "", 0x01021994: "", 0x794c7630: "", 0x2fc12fc1: "", // ext4, XFS, Btrfs, tmpfs, overlay, ZFS
	} {
		if got := networks[number]; got != want {
			t.Errorf("%#x is %q, want %q", number, got, want)
		}
	}
	for _, path := range []string{t.TempDir(), "/proc", "none"} {
		if got := Network(path); got != "" {
			t.Errorf("%s is on %q", path, got)
		}
	}
}
