//go:build darwin || freebsd || linux

package ownfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ownfile"
)

// identity returns the identity of the file at a path.
func identity(t *testing.T, path string) ownfile.Identity {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return ownfile.IdentityOf(f)
}

// A file keeps its identity when it is renamed, written, or gets another name. A copy
// of it has another one, also if it has the number of the file, which was removed.
func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a")
	write(t, path, "content")
	is := identity(t, path)
	if is.InBoot() == 0 || is.Lasting() == 0 || is.Names != 1 || is.IsMount {
		t.Fatalf("%+v", is)
	}
	write(t, path, "other content")
	moved := filepath.Join(dir, "b")
	if err := os.Rename(path, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(moved, path); err != nil {
		t.Skip(err)
	}
	now := identity(t, path)
	if now.InBoot() != is.InBoot() || now.Lasting() != is.Lasting() || now.Names != 2 {
		t.Errorf("%+v, and then %+v", is, now)
	}
	copied := filepath.Join(dir, "c")
	write(t, copied, "other content")
	if other := identity(t, copied); other.InBoot() == is.InBoot() || other.Lasting() == is.Lasting() {
		t.Errorf("a copy: %+v and %+v", is, other)
	}
	if is.Born == 0 {
		t.Skip("the file system does not tell when files were created")
	}
	for end := time.Now().Add(10 * time.Second); identity(t, copied).Born == is.Born; { // the clock of a file system is coarse
		if time.Now().After(end) {
			t.Fatal("the clock of the file system stands still")
		}
		if err := os.Remove(copied); err != nil {
			t.Fatal(err)
		}
		write(t, copied, "other content")
	}
	for _, name := range []string{path, moved} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 { // some file systems give the number of a removed file to the next one
		write(t, path, "other content")
		if other := identity(t, path); other.Lasting() == is.Lasting() || other.InBoot() == is.InBoot() {
			t.Fatalf("a file in the place of a removed one: %+v and %+v", is, other)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// A file that belongs to another one can be used by the user of that one, also if
// root makes it.
func TestReplaceLike(t *testing.T) {
	dir := t.TempDir()
	path, like := filepath.Join(dir, "own"), filepath.Join(dir, "like")
	write(t, like, magic)
	if err := os.Chmod(like, 0o666); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534
		if err := os.Chown(like, uid, uid); err != nil {
			t.Skip(err)
		}
	}
	of, err := os.Open(like)
	if err != nil {
		t.Fatal(err)
	}
	defer of.Close()
	for range 2 { // also in place of one that is there
		f, err := ownfile.ReplaceLike(path, []byte(magic), ours, of)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); int(s.Uid) != uid || info.Mode().Perm() != 0o666 {
			t.Errorf("user %d, mode %v", s.Uid, info.Mode())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A file whose owner cannot be told does not replace the one that is there.
func TestReplaceLike_Fails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "own")
	write(t, path, magic)
	like, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := like.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ownfile.ReplaceLike(path, []byte(magic+"new"), ours, like); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file like one that is closed: %v", err)
	}
	if _, err := ownfile.ReplaceWith(path, func(*os.File) ([]byte, error) { return []byte(magic), fs.ErrInvalid }, ours, nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a file without content: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != magic {
		t.Errorf("the file is %q, %v", b, err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("%d files are left, %v", len(all), err)
	}
}
