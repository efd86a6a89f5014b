package remote

import (
	"context"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/ltxio"
	"github.com/ltxvfs/litestream/internal/view"
)

// Written are pages that transactions have written or cut off. Nil: any page may
// be.
type Written struct {
	pages *view.Bitmap
	least uint32 // all pages beyond this one are
}

// Has reports whether a page was written or cut off, as far as is known.
func (w *Written) Has(pgno uint32) bool {
	return w == nil || pgno > w.least || w.pages.Has(pgno)
}

// WrittenBetween returns the pages that were written after one transaction up to
// another, from the page indexes of the files that lead there. It returns nil if the
// listed files do not tell: none lead there, or only one with a whole database. Views
// alone do not tell it either, because a new snapshot gives every page a new version.
func (s *Store) WrittenBetween(ctx context.Context, from, to ltx.TXID, files []*ltx.FileInfo) (*Written, error) {
	plan, end := view.Extend(from, to, files)
	if end != to || slices.ContainsFunc(plan, func(f *ltx.FileInfo) bool { return f.MinTXID == 1 }) {
		return nil, nil
	}
	w := &Written{pages: view.NewBitmap(0), least: ^uint32(0)}
	err := s.LoadFiles(ctx, plan, func(l *Loaded) error {
		w.least = min(w.least, l.File.Commit) // pages beyond it were cut off in between
		w.pages = w.pages.RoomFor(l.File.Commit)
		l.Index.Each(func(e ltxio.Entry) bool {
			w.pages.Set(e.Pgno)
			return true
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}
