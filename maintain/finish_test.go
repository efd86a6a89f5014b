package maintain

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/ownfile"
	"github.com/ltxvfs/litestream/internal/testlog"
)

// TestRestore_FolderNotSynced restores to a folder that may be written and not read, so
// that it cannot be synced. The database is there then, and that is no error: the next
// call would say that it exists.
func TestRestore_FolderNotSynced(t *testing.T) {
	syncDir = func(string) error { return fs.ErrPermission }
	defer func() { syncDir = ownfile.SyncDir }()
	path := filepath.Join(t.TempDir(), "app.db")
	var log testlog.Buffer
	r, err := Restore(t.Context(), file.NewReplicaClient("../testdata/replicas/compacted"), path, RestoreOptions{Requests: Requests{Logger: testlog.New(t, &log)}})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != r.Bytes {
		t.Errorf("the database is not there: %v, %v", info, err)
	}
	if !strings.Contains(log.String(), "permission denied") {
		t.Errorf("the error is not logged: %s", log.String())
	}
}
