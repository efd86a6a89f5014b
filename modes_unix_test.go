//go:build darwin || freebsd || linux

package litestream_test

import (
	"bytes"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// Only the user of the process can read and write the files that a database keeps, and
// enter the folders that it makes, whatever the umask is. No file has a credential of
// the replica.
func TestLocalFiles_Modes(t *testing.T) {
	const secret = "s3cr3t"
	client := memoryClient()
	writeReplica(t, client, "CREATE TABLE t (v); INSERT INTO t VALUES (1)")
	litestream.RegisterReplicaClientFactory("modes", func(string, string, string, url.Values, *url.Userinfo) (litestream.ReplicaClient, error) {
		return client, nil
	})
	dir := t.TempDir()
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	vfsName, _ := newVFS(t, nil, &litestream.Options{
		HydrationEnabled: true, HydrationPath: filepath.Join(dir, "local.db"), WriteEnabled: true, WriteBufferPath: filepath.Join(dir, "buffer"),
		WriteSyncInterval: -1, PollInterval: -1, Logger: testlog.New(t, nil),
	})
	db := openDB(t, vfsName, "app.db", "replica_url="+url.QueryEscape("modes://me:"+secret+"@host/app.db?token="+secret))
	waitForHydration(t, db)
	mustExec(t, db, "INSERT INTO t VALUES (2)")
	check := func(when string, least int) {
		t.Helper()
		files := 0
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || path == dir {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if mode := info.Mode().Perm(); mode&0o077 != 0 {
				t.Errorf("%s: others may use %s: %o", when, e.Name(), mode)
			}
			content, err := os.ReadFile(path)
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s: %s contains a secret", when, e.Name())
			}
			files++
			return err
		})
		if err != nil || files < least {
			t.Errorf("%s: %d files, want at least %d, error %v", when, files, least, err)
		}
	}
	check("while it is open", 4) // pages, what processes share, the lock of the buffer and a segment
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	check("when it is closed", 2)
}
