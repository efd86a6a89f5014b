package litestream_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream"
	"github.com/ltxvfs/litestream/internal/goldenfile"
	"github.com/superfly/ltx"
)

// goldenBuffer is the write buffer that an earlier version left: two transactions
// of a new database, which are not on its replica.
const goldenBuffer = "buffer-2/buffer"

// makeGoldenBuffer writes a golden write buffer. It has no fixed bytes, because its
// commits have times and its segments have random salts.
func makeGoldenBuffer(t *testing.T) {
	client := faulty()
	client.create = func(ltx.TXID, func() (*ltx.FileInfo, error)) (*ltx.FileInfo, error) {
		return nil, errors.New("storage is down")
	}
	path := leaveUnsynced(t, client, "app.db", "PRAGMA page_size=512; CREATE TABLE t (v); INSERT INTO t VALUES ('kept')")
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Dir(goldenfile.Path(t, goldenBuffer))
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		copyFile(t, name, filepath.Join(to, filepath.Base(name)))
	}
}

// TestFormats_Buffer opens a database with the write buffer of an earlier version,
// and syncs its commits.
func TestFormats_Buffer(t *testing.T) {
	if goldenfile.IsWanted(t, filepath.Dir(goldenBuffer)) {
		makeGoldenBuffer(t)
	}
	path := copyBuffer(t, goldenfile.Path(t, goldenBuffer))
	client := memoryClient()
	vfsName, vfs := newVFSOnly(t, client, writing(func(o *litestream.Options) { o.WriteBufferPath = path }))
	wantSQL(t, openConn(t, vfsName, "app.db"), "SELECT v FROM t", "kept")
	mustSync(t, vfs)
	if err := vfs.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	vfsName, _ = newVFS(t, client, nil)
	wantSQL(t, openConn(t, vfsName, "app.db"), "SELECT v FROM t", "kept")
}

// TestFormats_NewerBuffer opens a database with the write buffer of a newer
// version. It is refused as it is: if it were kept aside, commits of this version
// would take the place of those in it.
func TestFormats_NewerBuffer(t *testing.T) {
	path := copyBuffer(t, goldenfile.Path(t, goldenBuffer))
	name := path + "-00000001"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[7] = 3
	b[len("LTXCLOG")+20]++ // a header of another version has another sum
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	log := openRefused(t, memoryClient(), "app.db", path)
	for _, want := range []string{name, "newer version: 3", "set another path"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}
