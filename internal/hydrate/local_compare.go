package hydrate

import (
	"cmp"
	"context"
	"math"

	"github.com/ltxvfs/litestream/internal/pages"
	"github.com/ltxvfs/litestream/internal/view"
)

// sumBack reads back the local pages of a file that are in no stretch, and makes
// stretches of them. It returns the gaps that are left.
func (l *localPages) sumBack(at *places, v *view.View, t *fileTally) (gaps []gap, err error) {
	f := t.file
	page := make([]byte, l.size)
	var run stretch
	flush := func() {
		if run.end > run.offset {
			l.sums.add(f, run)
		}
	}
	missing := func(offset, end int64) {
		if n := len(gaps); n > 0 && gaps[n-1].end == offset {
			gaps[n-1].end = end
			return
		}
		gaps = append(gaps, gap{offset, end})
	}
	walkFile(at, v, t, l.sums.of(f), func(pgno uint32, loc view.Loc) bool {
		end := loc.Offset + int64(loc.Size)
		switch err = l.read(v, pgno, page); {
		case err == errNotHere: // the page has changed since, or another history has begun
			err = nil
			missing(loc.Offset, end)
			return true
		case err != nil:
			return false
		}
		if run.end != loc.Offset || run.end-run.offset >= partSize {
			flush()
			run = stretch{offset: loc.Offset}
		}
		run.sum.AddPage(pgno, loc.Size, f.Sized, page)
		run.end = end
		return at.ctx.Err() == nil
	}, missing)
	flush()
	return gaps, cmp.Or(err, at.err)
}

// settle settles the pages of a file. Compared tells whether a compared checksum
// covers them.
func (l *localPages) settle(ctx context.Context, of *heldPages, f *view.File, compared bool) {
	const batch = 1024
	pgnos := make([]uint32, 0, batch)
	note := func() {
		l.mu.RLock()
		defer l.mu.RUnlock()
		held := l.held.Load()
		for _, pgno := range pgnos {
			if held.has(of.view, pgno) {
				l.settlePage(held, pgno, compared)
			}
		}
		pgnos = pgnos[:0]
	}
	of.view.Pages.EachMissing(of.settled, 1, math.MaxUint32, func(pgno uint32, loc view.Loc) bool {
		if loc.File == f {
			pgnos = append(pgnos, pgno)
		}
		if len(pgnos) == batch {
			note()
		}
		return ctx.Err() == nil
	})
	note()
}

// settleKey settles a page. Compared tells whether a compared checksum covers it.
func (l *localPages) settleKey(key pages.Key, compared bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if held := l.held.Load(); held.hasKey(key) {
		l.settlePage(held, key.Pgno, compared)
	}
}

// settlePage settles a page that is present. The caller holds mu.
func (l *localPages) settlePage(held *heldPages, pgno uint32, compared bool) {
	if !held.settled.Set(pgno) {
		return
	}
	l.settled.Add(1)
	if compared && held.compared.Set(pgno) {
		l.compared.Add(1)
		l.share.Load().Compared(pgno)
	}
}
