package https

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// A listing of a folder or of a bucket does not tell whether a file was replaced by one
// of the same size: its times are in minutes or seconds, if there are any. But if one
// transaction is the same as before, all earlier ones are. So each listing looks at the
// entity tags of the newest files that a read has seen.

// checkNewest reports whether the newest files of a listing that a read has seen are
// what they were. If none of those that end at the newest transaction is, any file may
// have been replaced, and all get new versions. If one is, this marks the later files,
// which no read has seen, as doubtful.
func (s *session) checkNewest(ctx context.Context, l lister, files []listed) (same bool, err error) {
	asked, last := s.pins.newestRead(files)
	unchanged, errs := make([]bool, len(asked)), make([]error, len(asked))
	err = clientio.Each(ctx, len(asked), heads, func(ctx context.Context, i int) error {
		unchanged[i], errs[i] = s.isUnchanged(ctx, l, asked[i])
		errs[i] = looking(asked[i].String(), errs[i])
		return nil // one that is the same is enough
	})
	if err != nil {
		return false, err
	}
	same = len(asked) == 0 || slices.Contains(unchanged, true)
	if !same {
		if err := errors.Join(errs...); err != nil {
			return false, err
		}
		s.pins.restart(asked)
		return false, nil
	}
	for i, f := range files {
		files[i].isDoubtful = f.MaxTXID > last
	}
	return true, nil
}

// readNewest reads the newest file of a listing if no read has seen any of the files, so
// that the next listing has one to look at. An error does not matter then. It does
// nothing in the first listing, after which files are usually read.
func (s *session) readNewest(ctx context.Context, l lister, files []listed) {
	if asked, _ := s.pins.newestRead(files); len(asked) > 0 || len(files) == 0 || s.pins.isEmpty() {
		return
	}
	newest := slices.MaxFunc(files, func(a, b listed) int { return cmp.Compare(a.MaxTXID, b.MaxTXID) })
	s.pins.named(newest)
	_ = s.readHeader(ctx, l, newest.File)
}

// isUnchanged reads the beginning of a file, and reports whether it has the version
// that it had in the listing before. If the server tells no entity tags, the size
// decides.
func (s *session) isUnchanged(ctx context.Context, l lister, f clientio.File) (bool, error) {
	before := s.pins.newest(f)
	switch err := s.readHeader(ctx, l, f); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	after := s.pins.newest(f)
	return after.number == before.number && !after.hasChanged, nil
}

// readHeader reads the beginning of a file, for its entity tag.
func (s *session) readHeader(ctx context.Context, l lister, f clientio.File) error {
	u, err := l.find(ctx, f)
	if err != nil {
		return err
	}
	body, err := s.read(ctx, f, u, 0, ltx.HeaderSize)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, body) // so that the connection can be used again
	_ = body.Close()                 // the content does not matter
	return nil
}
