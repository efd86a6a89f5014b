package litestream

import (
	"github.com/ltxvfs/litestream/internal/tempfile"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// OnDisk has fn called before and after everything that is done to local
// files, which fails if fn does.
func OnDisk(o *Options, fn func(op string) error) { o.onDisk = fn }

// PlanLatest returns the files that give the newest state.
func PlanLatest(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) { return view.PlanLatest(0, files) }

// TempFolders replaces the folders that SQLite's temporary files may be in, until
// restore is called.
func TempFolders(folders ...string) (restore func()) {
	before := tempfile.Folders
	tempfile.Folders = func() []string { return folders }
	return func() { tempfile.Folders = before }
}
