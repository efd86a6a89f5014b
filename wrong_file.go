package litestream

import (
	"fmt"

	"github.com/superfly/ltx"
)

// wrongFile names a file whose content does not have its checksum.
type wrongFile struct {
	fileKey
	checksum ltx.Checksum
}

// distrust ends the use of a file whose checksum is wrong: nobody can tell which
// of its pages are. What was served of it cannot be taken back, but no page is
// from now on, and SQLite reads again what it has cached.
func (x *index) distrust(f *ltxFile, problem error) {
	x.store.wrong.Store(wrongFile{f.key(), f.checksum}, problem)
	mark := func(v *view) {
		for _, v := range []*view{v, v.base, v.state.moved.Load()} {
			if v == nil {
				continue
			}
			for _, g := range v.files() {
				x.store.markWrong(g)
			}
		}
	}
	for _, v := range append(x.inUse(), x.past.all()...) {
		mark(v)
	}
	mark(x.current.Load())
	x.forgetServed()
}

// forgetServed has nothing be served any more from the local file and the
// cache, and SQLite read again what it has cached, as pages were wrong.
func (x *index) forgetServed() {
	for {
		cur := x.current.Load()
		x.pages.dropLocal()
		x.pages.reset(max(cur.pageSize, minPageSize))
		again := *cur
		switch x.writer.replace(cur, x.newState(&again)) {
		case nil:
			return
		case errWriting:
			x.writer.stampLocal() // the next sync publishes that
			return
		}
	}
}

// markWrong has pages of a file be refused if its content is known to be wrong.
func (s *store) markWrong(f *ltxFile) {
	if problem, ok := s.wrong.Load(wrongFile{f.key(), f.checksum}); ok {
		err := problem.(error)
		f.wrong.Store(&err)
	}
}

// checkTrusted returns an error if a page must not be had from where it lies.
func (loc frameLoc) checkTrusted(pgno uint32) error {
	if problem := loc.file.wrong.Load(); problem != nil {
		return fmt.Errorf("read page %d from %s: %w", pgno, loc.file, *problem)
	}
	return nil
}

// isUsable tells whether a page can be read from where it lies, as far as is
// known.
func (loc frameLoc) isUsable() bool { return !loc.file.gone.Load() && loc.file.wrong.Load() == nil }
