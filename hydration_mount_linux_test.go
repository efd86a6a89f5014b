package litestream

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ltxvfs/litestream/internal/hydrate"
	"github.com/ltxvfs/litestream/internal/pageshare"
	"golang.org/x/sys/unix"
)

// mount mounts a file system until the test ends.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Skipf("mount %s: %v", target, err) // it takes root
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// remount changes the options of a mounted tmpfs.
func remount(t *testing.T, target string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_REMOUNT|flags, data); err != nil {
		t.Fatal(err)
	}
}

// A disk that is mounted read-only has a complete copy. It is not used, and queries
// are right.
func TestHydration_ReadOnlyDisk(t *testing.T) {
	client := newDownClient()
	p := rowsPrimary(t, client.hookClient)
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "tmpfs", 0, "")
	path := filepath.Join(dir, "local.db")
	keepCopy(t, client, path)
	remount(t, dir, unix.MS_RDONLY, "")
	for range 2 { // also while another one has found that
		db, _ := openKeptDB(t, client, path, Options{})
		defer closeDB(t, db)
		await(t, "failure", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
		if s := db.hydrator.Progress(); !strings.Contains(s.Error, path) || !strings.Contains(s.Error, syscall.EROFS.Error()) {
			t.Errorf("%+v", s)
		}
		wantAll(t, p, db)
	}
	remount(t, dir, 0, "")
	db, log := openKeptDB(t, client, path, Options{})
	defer closeDB(t, db)
	awaitHydrated(t, db)
	if s := db.hydrator.Progress(); s.Bytes != 0 {
		t.Errorf("%d bytes are read again\n%s", s.Bytes, log)
	}
}

// A disk is full, at first of what another program has written, and then of the copy.
// Two databases go on without the file, and share it when there is room.
func TestHydration_FullDisk(t *testing.T) {
	needsSharing(t)
	client := newHookClient()
	p := rowsPrimary(t, client)
	for name, room := range map[string]int{"nothing": 0, "the table": 80 << 10, "a part": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mount(t, "tmpfs", dir, "tmpfs", 0, "size=8m")
			path := filepath.Join(dir, "local.db")
			fill(t, filepath.Join(dir, "other"), 8<<20-room)
			synctest.Test(t, func(t *testing.T) {
				var all []*database
				for i := range 2 {
					db, log := openKeptDB(t, client, path, Options{CacheSize: -1, ReadAheadSize: -1})
					defer closeDB(t, db)
					defer func() {
						if t.Failed() {
							t.Logf("database %d: %+v\n%s", i, db.hydrator.Progress(), log)
						}
					}()
					all = append(all, db)
				}
				await(t, "the disk to be full", func() bool {
					s := all[0].hydrator.Progress()
					if s.File != path {
						s = all[1].hydrator.Progress()
					}
					return s.Status == hydrate.Failed && strings.Contains(s.Error, syscall.ENOSPC.Error())
				})
				for _, db := range all {
					wantAll(t, p, db)
				}
				remount(t, dir, 0, "size=64m")
				time.Sleep(10 * time.Minute)
				await(t, "the copy", func() bool {
					return all[0].hydrator.Tier.IsComplete() && all[1].hydrator.Tier.IsComplete() &&
						(borrowed(all[0]) || borrowed(all[1]))
				})
				for _, db := range all {
					wantLocal(t, p, db, db.Current.Load())
				}
			})
		})
	}
}

// fill writes a file of a size, or as much of it as there is room for.
func fill(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The file alone, and not its folder, is mounted elsewhere, as containers can do it.
// There it has no record that others would change with it, so it is refused.
func TestHydration_MountedFile(t *testing.T) {
	client := newHookClient()
	p := rowsPrimary(t, client)
	path, other := filepath.Join(t.TempDir(), "local.db"), filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mount(t, path, other, "", unix.MS_BIND, "")
	record, err := os.ReadFile(path + "-hydration")
	if err == nil {
		err = os.WriteFile(other+"-hydration", record, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, _ := openKeptDB(t, client, other, Options{})
	defer closeDB(t, db)
	await(t, "failure", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
	if s := db.hydrator.Progress(); !strings.Contains(s.Error, other+" is a mount point") {
		t.Errorf("%+v", s)
	}
	wantAll(t, p, db)
	owner, log := openKeptDB(t, client, path, Options{})
	defer closeDB(t, owner)
	awaitHydrated(t, owner)
	if s := owner.hydrator.Progress(); s.File != path || s.Bytes != 0 {
		t.Errorf("%+v\n%s", s, log)
	}
}

// Root opens a database with the file of another user once. That user can go on with
// it.
func TestHydration_FileOfUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	client := newHookClient()
	p := rowsPrimary(t, client)
	path := filepath.Join(t.TempDir(), "local.db")
	keepCopy(t, client, path)
	const user = 65534
	suffixes := []string{"", "-hydration", pageshare.Suffix}
	for _, suffix := range suffixes {
		if err := os.Chown(path+suffix, user, user); err != nil {
			t.Skip(err)
		}
		if err := os.Chmod(path+suffix, 0o660); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path + pageshare.Suffix); err != nil { // so that another one is made
		t.Fatal(err)
	}
	p.Exec("UPDATE t SET b = randomblob(1000) WHERE id % 10 = 3")
	db, _ := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	closeDB(t, db)
	for _, suffix := range suffixes {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != user || s.Gid != user || info.Mode().Perm() != 0o660 {
			t.Errorf("local.db%s is of user %d, with mode %v", suffix, s.Uid, info.Mode())
		}
	}
}

// userVariable makes a child of TestHydration_OtherUser, and is the path of its file.
const userVariable = "LITESTREAM_TEST_OTHER_USER"

// A process of another user may not open the file. Hydration fails there and says so,
// and queries are right.
func TestHydration_OtherUser(t *testing.T) {
	if path := os.Getenv(userVariable); path != "" {
		client := newHookClient()
		p := smallPrimary(t, client)
		db, _ := openKeptDB(t, client, path, Options{})
		defer closeDB(t, db)
		await(t, "failure", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
		if s := db.hydrator.Progress(); !strings.Contains(s.Error, path) || !strings.Contains(s.Error, fs.ErrPermission.Error()) {
			t.Errorf("%+v", s)
		}
		wantAll(t, p, db)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	// The folder for temporary files of the tests, or one above it, may be for this user
	// only.
	everybody, err := os.MkdirTemp("/tmp", "litestream-everybody")
	if err == nil {
		err = os.Chmod(everybody, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(everybody) }()
	dir := filepath.Join(everybody, "files")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "local.db")
	client := newHookClient()
	smallPrimary(t, client)
	owner, _ := openKeptDB(t, client, path, Options{})
	defer closeDB(t, owner)
	awaitHydrated(t, owner)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// That user may not see the folder of the test binary.
	self, err := os.ReadFile("/proc/self/exe")
	program := filepath.Join(everybody, "program")
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, "-test.run=^TestHydration_OtherUser$")
	cmd.Env = append(os.Environ(), userVariable+"="+path, "TMPDIR="+everybody)
	cmd.Dir = everybody
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if s := owner.hydrator.Progress(); s.Status != hydrate.Complete {
		t.Errorf("%+v", s)
	}
}

// Databases that share a file are opened and closed many times, in each order. No
// descriptor and no memory map is left.
func TestShare_NothingLeft(t *testing.T) {
	needsSharing(t)
	client := newHookClient()
	smallPrimary(t, client)
	dir := t.TempDir()
	path := filepath.Join(dir, "local.db")
	isOurs := func(path string) bool { // also a temporary file
		return strings.HasPrefix(path, dir+"/") || strings.HasPrefix(filepath.Base(path), "litestream-")
	}
	count := func() (files, maps []string) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			if to, _ := os.Readlink("/proc/self/fd/" + fd.Name()); isOurs(to) {
				files = append(files, to)
			}
		}
		b, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if i := strings.Index(line, "/"); i >= 0 && isOurs(line[i:]) {
				maps = append(maps, line)
			}
		}
		return files, maps
	}
	for i := range 12 {
		first, _ := openKeptDB(t, client, path, Options{})
		awaitHydrated(t, first)
		second, _ := openKeptDB(t, client, path, Options{})
		await(t, "the file of the first", func() bool { return borrowed(second) })
		if files, maps := count(); len(files) < 5 || len(maps) < 5 { // else nothing is counted
			t.Fatalf("%v and %v are in use", files, maps)
		}
		switch i % 4 {
		case 0:
			closeDB(t, first)
			closeDB(t, second)
		case 1:
			closeDB(t, second)
			closeDB(t, first)
		case 2:
			closeDB(t, first)
			await(t, "the other to own it", func() bool { return second.hydrator.Progress().Owner == 0 && second.hydrator.View() != nil })
			closeDB(t, second)
		case 3: // while it is changing its role
			if err := os.Remove(path + pageshare.Suffix); err != nil {
				t.Fatal(err)
			}
			await(t, "the table to be missed", func() bool { return second.hydrator.Progress().Owner == 0 })
			closeDB(t, second)
			closeDB(t, first)
		}
		if files, maps := count(); len(files) > 0 || len(maps) > 0 {
			t.Fatalf("after %d rounds, %v and %v are left", i+1, files, maps)
		}
	}
	if left, err := filepath.Glob(path + "*.*"); err != nil || len(left) != 0 { // temporary names
		t.Error(left, err)
	}
}
