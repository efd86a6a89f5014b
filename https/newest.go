package https

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// checkNewest reports whether files of a listing are those that reads have seen, and
// not files that have replaced them. A listing of a folder or of a bucket does not tell
// whether a file was replaced by one of the same size: its times are in minutes or
// seconds, if there are any. If the newest transaction that was read is still the same,
// all earlier ones are. So this compares the entity tags of the files that end at it
// with those that they had. If none is the same, any file may have been replaced, and
// all get new versions. If one is, the later files do, since no read has seen them.
func (s *session) checkNewest(ctx context.Context, l lister, files []listed) (same bool, err error) {
	asked, last := s.pins.newestRead(files)
	unchanged, errs := make([]bool, len(asked)), make([]error, len(asked))
	_ = clientio.Each(ctx, len(asked), heads, func(ctx context.Context, i int) error {
		unchanged[i], errs[i] = s.isUnchanged(ctx, l, asked[i])
		errs[i] = looking(asked[i].String(), errs[i])
		return nil // one that is the same is enough
	})
	same = len(asked) == 0 || slices.Contains(unchanged, true)
	if err := errors.Join(errs...); err != nil && !same {
		return false, err
	}
	s.pins.keep(func(f clientio.File, v pin) bool {
		if same {
			return v.isRead || f.MaxTXID <= last
		}
		return slices.Contains(asked, f) // it was just read
	})
	return same, nil
}

// isUnchanged reads the beginning of a file, and reports whether it has the version
// that the reads before have seen. If the server tells no entity tags, the size decides.
func (s *session) isUnchanged(ctx context.Context, l lister, f clientio.File) (bool, error) {
	before := s.pins.newest(f)
	u, err := l.find(ctx, f)
	if err != nil {
		return false, err
	}
	body, err := s.read(ctx, f, u, 0, ltx.HeaderSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	_, _ = io.Copy(io.Discard, body) // so that the connection can be used again
	_ = body.Close()                 // the content does not matter
	return s.pins.newest(f) == before, nil
}
