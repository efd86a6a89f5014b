package litestream

import (
	"github.com/ltxvfs/litestream/internal/dbheader"
	"github.com/ltxvfs/litestream/internal/view"
)

// distrust ends the use of a file whose checksum is wrong, because it is not
// known which of its pages are damaged. Pages that were served before cannot be
// taken back. From now on no page of the file is served, and SQLite drops its
// cache.
func (x *index) distrust(f *view.File, problem error) {
	x.store.NoteWrong(f, problem)
	mark := func(v *view.View) {
		for _, v := range []*view.View{v, v.Base, v.State.Moved.Load()} {
			if v == nil {
				continue
			}
			for _, g := range v.Files() {
				x.store.MarkWrong(g)
			}
		}
	}
	for _, v := range x.inUse() {
		mark(v)
	}
	mark(x.Current.Load())
	x.forgetServed()
}

// forgetServed drops the pages in the local file and in the page cache, and
// makes SQLite drop its own cache, because served pages may be wrong.
func (x *index) forgetServed() {
	for {
		size := x.Newest().PageSize
		x.pages.DropLocal()
		x.pages.Reset(max(size, dbheader.MinPageSize))
		if x.Newest().PageSize == size {
			break // else the cache was perhaps prepared for the pages of another view first
		}
	}
	x.Forgotten.Add(1) // for connections that look at the past
	x.writer.RenewNewest()
}
