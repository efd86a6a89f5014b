package ownfile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

// TestIdentity_Born tells when a file was created, where the file system does.
func TestIdentity_Born(t *testing.T) {
	began := time.Now()
	path := filepath.Join(t.TempDir(), "a")
	write(t, path, "content")
	is := identity(t, path)
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st); err != nil {
		t.Skipf("the system does not tell when files were created: %v", err)
	}
	isKnown := st.Mask&unix.STATX_BTIME != 0
	if isKnown != (is.Born != 0) {
		t.Fatalf("the file was created at %d, which the file system tells: %v", is.Born, isKnown)
	}
	// The clock of a file system is coarse, and that of a network may be off.
	if born := time.Unix(0, is.Born); isKnown && (born.Before(began.Add(-time.Hour)) || born.After(time.Now().Add(time.Hour))) {
		t.Errorf("the file was created at %v, after %v", born, began)
	}
}

// TestIdentity_IsMount tells a place where something is mounted from others.
func TestIdentity_IsMount(t *testing.T) {
	of := func(path string) ownfile.Identity {
		t.Helper()
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return ownfile.IdentityOf(f)
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/proc", 0, 0, &st); err != nil || st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		t.Skipf("the system does not tell what is mounted: %v", err)
	}
	if is := of("/proc"); !is.IsMount {
		t.Errorf("/proc: %+v", is)
	}
	if is := of("/proc/version"); is.IsMount {
		t.Errorf("/proc/version: %+v", is)
	}
}
