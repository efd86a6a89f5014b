//go:build darwin || freebsd || linux

package file_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
)

// What is no regular file is no LTX file, for listings and for reads. Nothing waits for
// the other end of a named pipe, or reads a device.
func TestReplicaClient_OtherKinds(t *testing.T) {
	c := file.NewReplicaClient(t.TempDir())
	if err := os.MkdirAll(levelDir(c, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	name := func(txid ltx.TXID) string { return filepath.Join(levelDir(c, 0), ltx.FormatFilename(txid, txid)) }
	if err := errors.Join(syscall.Mkfifo(name(1), 0o600), os.Symlink(name(1), name(2)), os.Symlink("/dev/zero", name(3))); err != nil {
		t.Skip(err)
	}
	itr, err := c.LTXFiles(t.Context(), 0, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if infos, err := ltx.SliceFileIterator(itr); err != nil || len(infos) > 0 {
		t.Errorf("listed %v, error %v", infos, err)
	}
	to := file.NewReplicaClient(t.TempDir())
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		for call, run := range map[string]func(context.Context) error{
			"read": func(ctx context.Context) error {
				r, err := c.OpenLTXFile(ctx, 0, txid, txid, 0, 0)
				if err == nil {
					err = errors.Join(errors.New("no error"), r.Close())
				}
				return err
			},
			"copy": func(ctx context.Context) error {
				_, err := to.CopyLTXFile(ctx, c, 0, txid, txid)
				return err
			},
		} {
			ended := make(chan error, 1)
			go func() { ended <- run(t.Context()) }()
			select {
			case err := <-ended:
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s of %d: %v, want fs.ErrNotExist", call, txid, err)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s of %d hangs", call, txid)
			}
		}
	}
}
