package litestream

import (
	"github.com/ltxvfs/litestream/internal/view"

	"github.com/ltxvfs/litestream/internal/remote"
)

// keptPages are the newest versions of pages that came along with files, by
// page number.
type keptPages map[uint32]keptPage

type keptPage struct {
	file *view.File
	data []byte
}

// keep adds the pages of a file up to limit bytes. They replace older
// versions.
func (k keptPages) keep(l *remote.Loaded, limit int64) {
	for _, p := range l.Pages {
		if _, known := k[p.Pgno]; known || int64(len(k)+1)*int64(len(p.Data)) <= limit {
			k[p.Pgno] = keptPage{l.File, p.Data}
		}
	}
}

// cachePages gives the tiers those pages that a view has in that version.
func (s *pageSource) cachePages(v *view.View, pages keptPages) {
	for pgno, p := range pages {
		if loc, ok := v.Lookup(pgno); ok && loc.File == p.file {
			s.admit(pageKey{loc.Version, pgno, v.Epoch}, p.data, p.file.IsWhole)
		}
	}
	s.local.notify()
}
