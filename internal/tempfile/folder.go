package tempfile

import (
	"errors"
	"os"
	"runtime"
)

// SQLiteDirectory returns SQLite's variable sqlite3_temp_directory, "" if it is
// not set. The adapter of a driver that can read the variable replaces it before
// the first file spills.
var SQLiteDirectory = func() string { return "" }

// Folders returns the folders for temporary files, in the order in which SQLite
// looks at them. Tests replace it.
var Folders = func() []string {
	if runtime.GOOS == "windows" {
		return []string{SQLiteDirectory(), os.TempDir()}
	}
	return []string{SQLiteDirectory(), os.Getenv("SQLITE_TMPDIR"), os.Getenv("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", "."}
}

var errNoFolder = errors.New("no folder for temporary files can be written to: set SQLITE_TMPDIR or TMPDIR")

// folder returns the first of Folders that is a folder and can be written to.
func folder() (string, error) {
	for _, dir := range Folders() {
		if dir == "" {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() && canWriteTo(dir) {
			return dir, nil
		}
	}
	return "", errNoFolder
}
