package pages

import (
	"github.com/ltxvfs/litestream/internal/view"

	"github.com/ltxvfs/litestream/internal/remote"
)

// Kept are the newest versions of pages that came along with files, by
// page number.
type Kept map[uint32]KeptPage

type KeptPage struct {
	File *view.File
	data []byte
}

// Keep adds the pages of a file up to limit bytes. They replace older
// versions.
func (k Kept) Keep(l *remote.Loaded, limit int64) {
	for _, p := range l.Pages {
		if _, known := k[p.Pgno]; known || int64(len(k)+1)*int64(len(p.Data)) <= limit {
			k[p.Pgno] = KeptPage{l.File, p.Data}
		}
	}
}

// CachePages gives the tiers those pages that a view has in that version.
func (s *Source) CachePages(v *view.View, pages Kept) {
	for pgno, p := range pages {
		if loc, ok := v.Lookup(pgno); ok && loc.File == p.File {
			s.admit(Key{loc.Version, pgno, v.Epoch}, p.data, p.File.IsWhole)
		}
	}
	s.Local.Notify()
}
