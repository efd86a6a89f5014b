package remote

import (
	"github.com/ltxvfs/litestream/internal/view"
	"github.com/superfly/ltx"
)

// wrongFile identifies a file whose content does not match its checksum.
type wrongFile struct {
	view.Key
	checksum ltx.Checksum
}

// NoteWrong records that the content of a file is known to be wrong.
func (s *Store) NoteWrong(f *view.File, problem error) {
	s.wrong.Store(wrongFile{f.Key(), f.Checksum}, problem)
}

// MarkWrong makes reads of pages from f fail if its content is known to be
// wrong.
func (s *Store) MarkWrong(f *view.File) {
	if problem, ok := s.wrong.Load(wrongFile{f.Key(), f.Checksum}); ok {
		err := problem.(error)
		f.Wrong.Store(&err)
	}
}
