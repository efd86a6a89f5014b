package litestream

import (
	"cmp"
	"slices"

	"github.com/superfly/ltx"
)

// seenFiles are files of an epoch as a listing had them.
type seenFiles struct {
	epoch uint32
	files map[fileKey]listing
}

// maxSeen bounds the files that are remembered: those that end last.
const maxSeen = 1024

// remember notes files that are known to be of an epoch.
func (x *index) remember(epoch uint32, files []*ltx.FileInfo) {
	if len(files) > maxSeen {
		files = slices.Clone(files)
		slices.SortFunc(files, func(a, b *ltx.FileInfo) int { return cmp.Compare(b.MaxTXID, a.MaxTXID) })
		files = files[:maxSeen]
	}
	seen := &seenFiles{epoch, make(map[fileKey]listing, len(files))}
	for _, info := range files {
		seen.files[keyOf(info)] = listingOf(info)
	}
	x.seen.Store(seen)
}

// seenIn returns the files of an epoch that were noted last, nil if none were.
func (x *index) seenIn(epoch uint32) map[fileKey]listing {
	if seen := x.seen.Load(); seen != nil && seen.epoch == epoch {
		return seen.files
	}
	return nil
}

// isSeen tells whether a listing means a file that is known to be of an epoch.
func (x *index) isSeen(epoch uint32, info *ltx.FileInfo) bool {
	l, ok := x.seenIn(epoch)[keyOf(info)]
	return ok && l.is(listingOf(info))
}
