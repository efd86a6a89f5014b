package killtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ltxvfs/litestream/internal/ltxtest"
)

// RunApart runs processes that see the folder of the local file differently: one in
// the working folder, one through a symbolic link, and one like in a container, with
// numbers of processes and mounts of its own. They share the file nevertheless. It
// skips the test where the last one cannot be started.
func RunApart(t *testing.T, store, dir string, replica ltxtest.Store) {
	link, mount := filepath.Join(t.TempDir(), "link"), t.TempDir()
	if err := os.Symlink(dir, link); err != nil {
		t.Skip(err)
	}
	const name = "local.db"
	path := filepath.Join(dir, name)
	g := newShareGroup(t, shareTask{store, path}, replica)
	defer g.end()
	script := `mount --bind "$0" "$1" && mount -t proc proc /proc && shift && exec "$@"`
	contained := []string{"unshare", "--pid", "--mount", "--fork", "--kill-child", "--propagation", "private", "sh", "-c", script, dir, mount}
	if err := try(append(contained, "true")); err != nil {
		t.Skip("no container can be made here:", err)
	}
	starts := []func() *sharer{
		func() *sharer { return startSharer(t, shareTask{store, name}, "env", "-C", dir) },
		func() *sharer { return startSharer(t, shareTask{store, filepath.Join(link, name)}) },
		func() *sharer { return startSharer(t, shareTask{store, filepath.Join(mount, name)}, contained...) },
	}
	for _, start := range starts {
		g.all = append(g.all, start())
	}
	for i := range 2 * len(starts) {
		g.change(i)
		g.await(fmt.Sprintf("one complete copy after %d kills of the owner", i), 60*time.Second, func() bool {
			owners := 0
			for _, p := range g.all {
				r, _, _ := p.report()
				if !r.Complete || filepath.Base(r.File) != name || r.TXID != g.primary.TXID() {
					return false
				}
				if r.Owner == 0 {
					owners++
				}
			}
			return owners == 1
		})
		for k, p := range g.all {
			if r, _, _ := p.report(); r.Owner == 0 {
				p.kill()
				g.all[k] = starts[k]()
				break
			}
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 3 {
		t.Errorf("the folder has %v, %v", files, err)
	}
}

// try runs a command, and returns an error with what it has printed if it fails.
func try(args []string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
