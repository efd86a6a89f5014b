package https

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// newestFiles are the files that end at the newest transaction of the last listing. A
// listing of a folder or of a bucket does not tell whether a file was replaced by one
// of the same size: its times are in minutes or seconds, if there are any. If the
// newest transaction is still the same, all earlier ones are. So the next listing
// compares the entity tags of these files with those that they had.
type newestFiles struct {
	mu struct {
		sync.Mutex // held for no I/O
		files      []clientio.File
	}
}

// set records the files of a listing.
func (n *newestFiles) set(files []listed) {
	var last ltx.TXID
	for _, f := range files {
		last = max(last, f.MaxTXID)
	}
	var newest []clientio.File
	for _, f := range files {
		if f.MaxTXID == last {
			newest = append(newest, f.File)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.files = newest
}

// check reports whether one of the files of the last listing that are listed again is
// the same. If none is, any file may have been replaced, and all get new versions.
func (n *newestFiles) check(ctx context.Context, s *session, l lister, files []listed) (same bool, err error) {
	n.mu.Lock()
	last := n.mu.files
	n.mu.Unlock()
	if len(last) == 0 {
		return true, nil
	}
	var left []clientio.File
	for _, f := range files {
		if slices.Contains(last, f.File) {
			left = append(left, f.File)
		}
	}
	unchanged := make([]bool, len(left))
	err = clientio.Each(ctx, len(left), heads, func(ctx context.Context, i int) (err error) {
		unchanged[i], err = s.isUnchanged(ctx, l, left[i])
		return looking(left[i].String(), err)
	})
	if err != nil {
		return false, err
	}
	if slices.Contains(unchanged, true) {
		return true, nil
	}
	s.pins.keep(func(f clientio.File) bool { return slices.Contains(left, f) }) // which were just read
	return false, nil
}

// isUnchanged reads the beginning of a file, and reports whether its entity tag is the
// one that is known. If the server tells none, the size decides.
func (s *session) isUnchanged(ctx context.Context, l lister, f clientio.File) (bool, error) {
	before, wasTagged := s.pins.newest(f)
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
	after, isTagged := s.pins.newest(f)
	return after == before && isTagged == wasTagged, nil
}
