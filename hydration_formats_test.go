package litestream

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/internal/goldenfile"
	"github.com/ltxvfs/litestream/internal/hydrate"
)

// hydrateReplica hydrates the replica that golden hydration files are of.
func hydrateReplica(t *testing.T, path string) (log string) {
	t.Helper()
	client := file.NewReplicaClient(filepath.Join("testdata", "replicas", "snapshot-only"))
	db, text := openKeptDB(t, client, path, Options{})
	awaitHydrated(t, db)
	closeDB(t, db)
	return text.String()
}

// TestFormats_Hydration goes on with the local file, the record and the table that
// earlier versions left. All pages are used.
func TestFormats_Hydration(t *testing.T) {
	if name := "hydration-2"; goldenfile.IsWanted(t, name) {
		dir := goldenfile.Path(t, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		hydrateReplica(t, filepath.Join(dir, "local.db"))
	}
	for _, name := range []string{
		"hydration-1",       // the first record, of a file without a mark
		"hydration-2-early", // without a number of the file, and with a table of format 1
		"hydration-2",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(goldenfile.Path(t, name))); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "local.db")
			const pages = 15
			log := hydrateReplica(t, path)
			if want := fmt.Sprintf("pages=%d", pages); !strings.Contains(log, "hydration goes on with") || !strings.Contains(log, want) {
				t.Errorf("the log does not say that hydration goes on with %d pages:\n%s", pages, log)
			}
		})
	}
}

// TestFormats_NewerHydration opens a local file with the record of a newer version.
// It is not touched.
func TestFormats_NewerHydration(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(goldenfile.Path(t, "hydration-2"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "local.db")
	record, err := os.ReadFile(path + "-hydration")
	if err != nil {
		t.Fatal(err)
	}
	record = []byte(strings.Replace(string(record), "litestream hydration 2\n", "litestream hydration 3\n", 1))
	if err := os.WriteFile(path+"-hydration", record, 0o600); err != nil {
		t.Fatal(err)
	}
	pages, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	client := file.NewReplicaClient(filepath.Join("testdata", "replicas", "snapshot-only"))
	db, _ := openKeptDB(t, client, path, Options{})
	defer closeDB(t, db)
	await(t, "the end of hydration", func() bool { return db.hydrator.Progress().Status == hydrate.Failed })
	for _, want := range []string{path + "-hydration", `format "3"`, "newer version"} {
		if text := db.hydrator.Progress().Error; !strings.Contains(text, want) {
			t.Errorf("the error does not say %q: %s", want, text)
		}
	}
	for name, want := range map[string][]byte{path: pages, path + "-hydration": record} {
		if got, err := os.ReadFile(name); err != nil || string(got) != string(want) {
			t.Errorf("%s was changed, %v", name, err)
		}
	}
}
