package litestream

import (
	"errors"
	"os"
	"runtime"

	"github.com/ltxvfs/litestream/internal/osvfs"
)

// tempFolders returns the folders for temporary files of SQLite's, in the order in which
// SQLite looks at them. Tests replace it.
var tempFolders = func() []string {
	if runtime.GOOS == "windows" {
		return []string{osvfs.TempDirectory(), os.TempDir()}
	}
	return []string{osvfs.TempDirectory(), os.Getenv("SQLITE_TMPDIR"), os.Getenv("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp", "."}
}

var errNoTempFolder = errors.New("no folder for temporary files can be written to: set SQLITE_TMPDIR or TMPDIR")

// tempFolder returns the first of tempFolders that is a folder and can be written to.
func tempFolder() (string, error) {
	for _, dir := range tempFolders() {
		if dir == "" {
			continue
		}
		if info, err := os.Stat(dir); err == nil && info.IsDir() && canWriteTo(dir) {
			return dir, nil
		}
	}
	return "", errNoTempFolder
}
