package openfiles_test

import (
	"testing"

	"github.com/ltxvfs/litestream/internal/openfiles"
)

// TestNames checks that a path is a replica's or a local file's, and which files are
// companions of a replica.
func TestNames(t *testing.T) {
	var n openfiles.Names
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	if n.HasReplicas() || n.IsCompanion("/a.db-journal") {
		t.Error("there is a replica before one is open")
	}
	must(n.AddReplica("/a.db"))
	must(n.AddReplica("/a.db"))
	if err := n.AddLocal("/a.db"); err == nil {
		t.Error("a replica is opened as a local file")
	}
	for path, want := range map[string]bool{
		"/a.db-journal": true, "/a.db-wal": true, "/a.db-mj0123ABCDE": true,
		"/a.db-mj0123": false, "/a.db-shm": false, "/a.dbx-journal": false, "/b.db-journal": false, "a.db-journal": false,
	} {
		if n.IsCompanion(path) != want {
			t.Errorf("%s is a companion: %v", path, !want)
		}
	}
	n.RemoveReplica("/a.db")
	if !n.IsReplica("/a.db") || !n.HasReplicas() {
		t.Error("the replica is gone while it is open")
	}
	n.RemoveReplica("/a.db")
	if n.IsReplica("/a.db") || n.IsCompanion("/a.db-journal") {
		t.Error("the replica is there after it was closed")
	}
	must(n.AddLocal("/a.db"))
	must(n.AddLocal("/b.db"))
	n.RemoveLocal("/b.db")
	if !n.IsLocal("/a.db") || n.IsLocal("/b.db") {
		t.Error("the local file is not the one that was opened")
	}
	if err := n.AddReplica("/a.db"); err == nil {
		t.Error("a local file is opened as a replica")
	}
	must(n.AddReplica("/b.db"))
}

// TestDatabaseOf cuts the suffixes that SQLite appends, once, and no other ones.
func TestDatabaseOf(t *testing.T) {
	for path, want := range map[string]string{
		"/a.db": "/a.db", "/a.db-journal": "/a.db", "/a.db-wal": "/a.db", "/a.db-mj0123ABC9E": "/a.db",
		"/a-b-journal": "/a-b", "/a-journal-journal": "/a-journal", "/a-b": "/a-b", "/a-": "/a-", "-journal": "",
		"/a.db-mj0123ABC9": "/a.db-mj0123ABC9", "/a.db-mj0123abc9e": "/a.db-mj0123abc9e", "/x-mjb/a.db": "/x-mjb/a.db",
	} {
		if got := openfiles.DatabaseOf(path); got != want {
			t.Errorf("the database of %s is %s, want %s", path, got, want)
		}
	}
	for path, want := range map[string]bool{
		"/a.db-mj0123ABC9E": true, "mj0123ABC9E": false, "/a.db": false, "/a.db-journal": false, "/a.db-mj0123ABC9": false, "/x-mj0123ABC9E/a.db-wal": false, "": false,
	} {
		if openfiles.IsSuperJournal(path) != want {
			t.Errorf("%s is a super-journal: %v", path, !want)
		}
	}
}
