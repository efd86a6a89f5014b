package pages

import (
	"github.com/ltxvfs/litestream/internal/remote"
	"github.com/ltxvfs/litestream/internal/view"
)

// Kept holds the newest versions of pages that were read together with the
// indexes of files, by page number.
type Kept map[uint32]keptPage

// keptPage is a page and the file that it came from.
type keptPage struct {
	file *view.File
	data []byte
}

// Keep adds the pages of a file that was loaded, up to limit bytes in total.
// They replace older versions.
func (k Kept) Keep(l *remote.Loaded, limit int64) {
	for _, p := range l.Pages {
		if _, known := k[p.Pgno]; known || int64(len(k)+1)*int64(len(p.Data)) <= limit {
			k[p.Pgno] = keptPage{l.File, p.Data}
		}
	}
}

// CachePages gives the tiers those of the pages that a view has in the same
// version, unless their file is known to be wrong.
func (s *Source) CachePages(v *view.View, pages Kept) {
	for pgno, p := range pages {
		if loc, ok := v.Lookup(pgno); ok && loc.File == p.file && p.file.Wrong.Load() == nil {
			s.admit(Key{loc.Version, pgno, v.Epoch}, p.data, p.file.IsWhole)
		}
	}
	s.local.Notify()
}
