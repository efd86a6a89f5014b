package tempfile

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// TestTempFolder checks that temporary files spill to the folder that SQLite
// would use, which is the first usable folder of its list.
func TestTempFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SQLite looks at other folders on Windows")
	}
	usable, other, set := t.TempDir(), t.TempDir(), t.TempDir()
	file := filepath.Join(usable, "file")
	if err := os.WriteFile(file, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(usable, "missing")
	closed := filepath.Join(usable, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	if canWriteTo(closed) {
		closed = missing // root can write to every folder
	}
	defer func(before func() string) { SQLiteDirectory = before }(SQLiteDirectory)
	for _, c := range []struct{ directory, sqlite, tmp, want string }{
		{"", usable, other, usable},
		{"", "", other, other},
		{"", missing, other, other},
		{"", file, other, other},
		{"", closed, other, other},
		{"", closed, file, "/var/tmp"},
		{"", "", "", "/var/tmp"},
		{set, usable, other, set},
		{missing, usable, other, usable},
	} {
		t.Setenv("SQLITE_TMPDIR", c.sqlite)
		t.Setenv("TMPDIR", c.tmp)
		SQLiteDirectory = func() string { return c.directory }
		dir, err := folder()
		f := new(File)
		_, werr := f.WriteAt([]byte("x"), Spill)
		if err != nil || dir != c.want || werr != nil {
			t.Errorf("%+v: %s, %v, %v", c, dir, err, werr)
		} else if got := filepath.Dir(f.disk.Name()); got != c.want {
			t.Errorf("%+v: spilled to %s", c, got)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if last := Folders()[3:]; !slices.Equal(last, []string{"/var/tmp", "/usr/tmp", "/tmp", "."}) {
		t.Errorf("last folders: %v", last)
	}
}
