package survey

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ltxvfs/litestream/replica"
)

const (
	ltxFile    = "0000000000000001-0000000000000003.ltx"
	sqliteHead = "SQLite format 3\x00"
	generation = "16f8a7a3a5b7c9d1/"
)

// folders makes a map of folders from texts like "ltx/: 0/ 9/".
func folders(texts ...string) map[string][]string {
	all := make(map[string][]string)
	for _, text := range texts {
		folder, names, _ := strings.Cut(text, ":")
		all[folder] = strings.Fields(names)
	}
	return all
}

func TestDescribe(t *testing.T) {
	const decimal, hex = "ltx/9/", "0009/"
	for _, c := range []struct {
		where   string
		levels  string
		names   string
		folders map[string][]string
		head    string
		kind    Kind
		text    string
	}{
		{"gs://b/a", decimal, "", nil, "", Nothing, "nothing lies at gs://b/a"},
		{"gs://b/a", "", "", nil, "", Nothing, "nothing lies at gs://b/a"},
		{"file:///a", decimal, "ltx/", nil, "", Other, "file:///a has no LTX files, but ltx/"},
		{"s3://b/a", hex, "0000/ 0009/", nil, "", Other, "s3://b/a has no LTX files, but 0000/, 0009/"},
		{"file:///a", decimal, "a b c d e f", nil, "", Other, "file:///a has no LTX files, but a, b, c, d, e and 1 more"},
		{"file:///a", decimal, "logs/ wal/ x.db", folders("logs/: 1.log", "wal/: 0/ "+generation), "", Other, "file:///a has no LTX files, but logs/, wal/, x.db"},
		{"gs://b/a", decimal, "generations/ 0/ 0009/ ltxx/", folders("generations/: 1", "0/: x", "0009/: 1.ltx", "ltxx/:"), "", Other, "gs://b/a has no LTX files, but generations/, 0/, 0009/, ltxx/"},
		{"gs://b/a", decimal, "", nil, "no database", File, "gs://b/a is a file, but no SQLite database"},
		{"file:///a.db", decimal, "", nil, sqliteHead, Database, "file:///a.db is a SQLite database and not a replica: open it as a local file, or replicate it and open the replica"},
		{"s3://b/a.db", hex, "x", nil, sqliteHead, Database, "s3://b/a.db is a SQLite database and not a replica: open it as a local file, or replicate it and open the replica"},
		{"gs://b/a", decimal, "0001/ 0009/", folders("0001/:", "0009/: "+ltxFile), "", Layout, "gs://b/a has a replica in the layout of another kind of store, with the folder 0009/ instead of folders like ltx/9/: copy its files to the folders of this layout"},
		{"s3://b/a", hex, "ltx/", folders("ltx/: 0/ 9/"), "", Layout, "s3://b/a has a replica in the layout of another kind of store, with the folder ltx/0/ instead of folders like 0009/: copy its files to the folders of this layout"},
		{"x://b/a", "", "ltx/", folders("ltx/: 9/"), "", Layout, "x://b/a has a replica in the layout of another kind of store, with the folder ltx/9/: copy its files to the folders of this layout"},
		{"s3://b/a", hex, "generations/", folders("generations/: " + generation), "", V3, "s3://b/a has a replica of Litestream v0.3 (generations/), which cannot be opened: replicate the database with Litestream v0.5"},
		{"s3://b", hex, "a.db/", folders("a.db/: 0000/ 0009/"), "", Parent, "s3://b is the parent of a replica: open s3://b/a.db"},
		{"s3://b/?endpoint=h", hex, "a.db/", folders("a.db/: generations/"), "", Parent, "s3://b/?endpoint=h is the parent of a replica: open s3://b/a.db?endpoint=h"},
		{"file:///r", decimal, "a/ b/ c d/ e/ f/ g/", folders("a/: ltx/", "b/: x", "d/: ltx/", "e/: 0000/", "f/: ltx/", "g/: ltx/"), "", Parent, "file:///r is the parent of replicas: open one of a/, d/, e/, f/, g/"},
		{"file:///r", decimal, "a/ b/ c/ d/ e/ f/", folders("a/: ltx/", "b/: ltx/", "c/: ltx/", "d/: ltx/", "e/: ltx/", "f/: ltx/"), "", Parent, "file:///r is the parent of replicas: open one of a/, b/, c/, d/, e/ and 1 more"},
		{"gs://b/a/ltx", decimal, "0/ 9/", folders("0/: "+ltxFile, "9/: "+ltxFile), "", LTXFolder, "gs://b/a/ltx is the folder ltx of a replica: open gs://b/a"},
		{"file:///ltx", decimal, "0/", folders("0/: " + ltxFile), "", LTXFolder, "file:///ltx is the folder ltx of a replica: open the folder above it"},
		{"gs://b/a/ltx/9?endpoint=h", decimal, ltxFile, nil, "", LevelFolder, "gs://b/a/ltx/9?endpoint=h is the folder of one level of a replica: open gs://b/a?endpoint=h"},
		{"s3://b/a/0009", hex, ltxFile, nil, "", LevelFolder, "s3://b/a/0009 is the folder of one level of a replica: open s3://b/a"},
		{"s3://b/copy", hex, ltxFile, nil, "", LevelFolder, "s3://b/copy is the folder of one level of a replica: open the folder that has all levels"},
	} {
		s := replica.Survey{Names: strings.Fields(c.names), LevelDir: c.levels}
		if c.head != "" {
			s.Head = []byte(c.head)
		}
		kind, text := Describe(c.where, false, Place{s, c.folders})
		if kind != c.kind || text != c.text {
			t.Errorf("%s, %s:\ngot  %d, %s\nwant %d, %s", c.names, c.levels, kind, text, c.kind, c.text)
		}
		if taken := kind.IsTaken(); taken != (kind != Nothing && kind != Other && kind != File) {
			t.Errorf("%d is taken: %v", kind, taken)
		}
	}
}

// TestDescribe_Names checks that names do not break the text, and that it says
// whether there are more.
func TestDescribe_Names(t *testing.T) {
	at := Place{replica.Survey{Names: []string{"a b", "c\n", "ü.db", `"`}, More: true, LevelDir: "ltx/9/"}, nil}
	const want = `w has no LTX files, but "a b", "c\n", ü.db, "\"" and more`
	if _, text := Describe("w", false, at); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

// TestFolders checks which folders are looked into.
func TestFolders(t *testing.T) {
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("a%02d/", i))
	}
	names = append(names, "file", "0/", "0009/", "generations/", "ltx/")
	want := map[string][]string{
		"ltx/9/": {"0/", "0009/", "generations/", "a00/"},
		"0009/":  {"0/", "generations/", "ltx/", "a00/"},
		"":       {"0/", "0009/", "generations/", "ltx/", "a00/"},
	}
	for levels, first := range want {
		got := Folders(replica.Survey{Names: names, LevelDir: levels})
		if len(got) != 16 || !slices.Equal(got[:len(first)], first) {
			t.Errorf("%s: got %q, want 16 that begin with %q", levels, got, first)
		}
	}
}

// Names that no folder can have are no folders, wherever they come in a listing.
func TestIsFolder(t *testing.T) {
	for name, want := range map[string]bool{
		"a/": true, "..a/": true, ".../": true, `..\/`: true, "a b/": true, "\x1b/": true,
		"": false, "/": false, "a": false, "./": false, "../": false, "a/b/": false, "a//": false,
	} {
		if got := IsFolder(name); got != want {
			t.Errorf("%q is a folder: %v", name, got)
		}
	}
	if got := Folders(replica.Survey{Names: []string{"../", "./", "a/"}}); len(got) != 1 || got[0] != "a/" {
		t.Errorf("folders are %q", got)
	}
}
