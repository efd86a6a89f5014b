package view

import (
	"fmt"

	"github.com/superfly/ltx"
)

// Loc is the location of the frame of one page.
type Loc struct {
	Source
	Offset int64
	Size   uint32
}

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
