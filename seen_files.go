package litestream

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// histories tells histories of a replica apart. It is safe for concurrent use.
type histories struct {
	store *remote.Store
	seen  atomic.Pointer[seenFiles]
}

// seenFiles holds files of one epoch as a listing returned them.
type seenFiles struct {
	epoch uint32
	files map[view.Key]view.Listing
}

// maxSeen limits the number of files that are remembered. Files with the
// greatest MaxTXID are kept.
const maxSeen = 1024

// remember records files that are known to be of an epoch.
func (h *histories) remember(epoch uint32, files []*ltx.FileInfo) {
	if len(files) > maxSeen {
		files = slices.Clone(files)
		slices.SortFunc(files, func(a, b *ltx.FileInfo) int { return cmp.Compare(b.MaxTXID, a.MaxTXID) })
		files = files[:maxSeen]
	}
	seen := &seenFiles{epoch, make(map[view.Key]view.Listing, len(files))}
	for _, info := range files {
		seen.files[view.KeyOf(info)] = view.ListingOf(info)
	}
	h.seen.Store(seen)
}

// seenIn returns the files of an epoch that were recorded last, or nil if there
// are none.
func (h *histories) seenIn(epoch uint32) map[view.Key]view.Listing {
	if seen := h.seen.Load(); seen != nil && seen.epoch == epoch {
		return seen.files
	}
	return nil
}

// isSeen reports whether a listed file is known to be of an epoch.
func (h *histories) isSeen(epoch uint32, info *ltx.FileInfo) bool {
	l, ok := h.seenIn(epoch)[view.KeyOf(info)]
	return ok && l.Is(view.ListingOf(info))
}
