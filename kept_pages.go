package litestream

import "github.com/ltxvfs/litestream/internal/view"

// keptPages are the newest versions of pages that came along with files, by
// page number.
type keptPages map[uint32]keptPage

type keptPage struct {
	file *view.File
	data []byte
}

// keep adds the pages of a file up to limit bytes. They replace older
// versions.
func (k keptPages) keep(l *loadedFile, limit int64) {
	for _, p := range l.pages {
		if _, known := k[p.pgno]; known || int64(len(k)+1)*int64(len(p.data)) <= limit {
			k[p.pgno] = keptPage{l.file, p.data}
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
