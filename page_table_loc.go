package litestream

import (
	"fmt"

	"github.com/superfly/ltx"
)

// frameLoc is the location of the frame of one page.
type frameLoc struct {
	source
	offset int64
	size   uint32
}

// source is an LTX file that holds pages of one version. The version is the
// file's MaxTXID, or less if pages were relocated to the file.
type source struct {
	file    *ltxFile
	version ltx.TXID
}

// checkTrusted returns an error if the page must not be read from loc.
func (loc frameLoc) checkTrusted(pgno uint32) error {
	if problem := loc.file.wrong.Load(); problem != nil {
		return fmt.Errorf("read page %d from %s: %w", pgno, loc.file, *problem)
	}
	return nil
}

// isUsable reports whether a page can be read from loc, as far as is known.
func (loc frameLoc) isUsable() bool { return !loc.file.gone.Load() && loc.file.wrong.Load() == nil }
