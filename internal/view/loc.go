package view

import (
	"fmt"

	"github.com/superfly/ltx"
)

// Loc is the location of the frame of one page. Its place in the file may be
// unread: then the page index of the file has to be read first.
type Loc struct {
	Source
	Offset int64
	Size   uint32 // 0 if the place is unread
}

// IsUnread reports whether only the file and the version of the page are known,
// and not its place in the file.
func (loc Loc) IsUnread() bool { return loc.Size == 0 }

// Source is an LTX file that holds pages of one version. The version is the
// file's MaxTXID, or less if pages were relocated to the file.
type Source struct {
	File    *File
	Version ltx.TXID
}

// CheckTrusted returns an error if the page must not be read from loc.
func (loc Loc) CheckTrusted(pgno uint32) error {
	if problem := loc.File.Wrong.Load(); problem != nil {
		return fmt.Errorf("read page %d from %s: %w", pgno, loc.File, *problem)
	}
	return nil
}

// IsUsable reports whether a page can be read from loc, as far as is known.
func (loc Loc) IsUsable() bool { return !loc.File.Gone.Load() && loc.File.Wrong.Load() == nil }
