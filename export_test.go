package litestream

import (
	"time"

	"github.com/ltxvfs/litestream/internal/tempfile"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// OnDisk has fn called before and after each operation on local files. The
// operation fails if fn returns an error.
func OnDisk(o *Options, fn func(op string) error) { o.onDisk = fn }

// SetClock sets the clock from which stamps of commits and files are taken.
func SetClock(o *Options, now func() time.Time) { o.clock = now }

// NeverWhole makes the page indexes of snapshots such that are read as they are
// needed, however small they are.
func NeverWhole(o *Options) { o.neverWhole = true }

// PlanLatest returns the files that give the newest state.
func PlanLatest(files []*ltx.FileInfo) ([]*ltx.FileInfo, error) { return view.PlanLatest(0, files) }

// TempFolders replaces the folders in which SQLite may put its temporary files,
// until restore is called.
func TempFolders(folders ...string) (restore func()) {
	before := tempfile.Folders
	tempfile.Folders = func() []string { return folders }
	return func() { tempfile.Folders = before }
}
