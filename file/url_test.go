package file_test

import (
	"os"
	"testing"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/file"
	"github.com/ltxvfs/litestream/replica"
	"github.com/ltxvfs/litestream/replicatest"
)

func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"file:///a/b":          "/a/b",
		"file://localhost/a/b": "/a/b",
		"file:a/b":             "a/b",
		"file://a/b":           "a/b",
		"file://A.b/c%20d":     "A.b/c d",
		"file://a":             "a",
		"file://./a":           "./a",
		"file://../a":          "../a",
	} {
		c, err := replica.NewFromURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if got := c.(*file.ReplicaClient).Path(); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
	for _, url := range []string{"file:", "file://", "file://localhost", "file://user@a/b", "file://:secret@a/b", "file://a/b?x=1", "file://a#b"} {
		if c, err := replica.NewFromURL(url); err == nil {
			t.Errorf("%s: got %s", url, c.(*file.ReplicaClient).Path())
		}
	}
}

// TestURL_Relative checks that a relative URL begins at the current folder, with
// one slash after the scheme, two or none.
func TestURL_Relative(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write(t, file.NewReplicaClient("a/b"), 0, replicatest.FileSpec{MinTXID: 1, MaxTXID: 1})
	for _, url := range []string{"file:a/b", "file://a/b", "file://./a/b", "file://" + dir + "/a/b"} {
		c, err := replica.NewFromURL(url)
		if err != nil {
			t.Fatal(err)
		}
		itr, err := c.LTXFiles(t.Context(), 0, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		if infos, err := ltx.SliceFileIterator(itr); err != nil || len(infos) != 1 {
			t.Errorf("%s: %d files, %v", url, len(infos), err)
		}
		if err := itr.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat("/a/b/ltx"); err == nil {
		t.Error("the replica is at the root")
	}
}
