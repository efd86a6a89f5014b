package litestream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/superfly/ltx"
)

// errBegunAnew is why write mode ends if the replica has another history.
var errBegunAnew = errors.New("the replica was begun anew")

// checkHistory ends write mode if files are of another history than ours.
func (w *writer) checkHistory(ctx context.Context, files []*ltx.FileInfo) error {
	other, err := w.isOtherHistory(ctx, files)
	if err == nil && other {
		err = w.lose(errBegunAnew)
	}
	return err
}

// isOtherHistory tells whether files are of another history than ours.
func (w *writer) isOtherHistory(ctx context.Context, files []*ltx.FileInfo) (other bool, err error) {
	cur := w.db.current.Load()
	if len(files) > 0 {
		other, err = w.db.isReplaced(ctx, cur, files)
	}
	if err == nil && (other || len(files) == 0) {
		other, err = w.secondLook(ctx, cur, files)
	}
	return other, err
}

// secondLook tells whether the replica is of another history than a view, when
// a listing has none of the files that the view has. It reads the newest file
// instead of listing it: if that can be read, the listing is wrong, which is an
// error. If it is missing, another history has to show itself by files that we
// do not know; files that are merely missing are a hole in ours.
func (w *writer) secondLook(ctx context.Context, v *view, files []*ltx.FileInfo) (replaced bool, err error) {
	if v.last == nil {
		return false, nil
	}
	newest := &ltx.FileInfo{Level: v.last.level, MinTXID: v.last.minTXID, MaxTXID: v.last.maxTXID, Size: v.last.size}
	switch sum, err := w.db.store.checksum(ctx, newest); {
	case err == nil && sum == v.last.checksum:
		return false, fmt.Errorf("%w: it lacks %s, which is there", errWrongListing, v.last)
	case err == nil, errors.Is(err, ErrCorrupt):
		return true, nil
	case !isMissing(err):
		return false, err
	}
	have := w.knownFiles()
	agrees := false
	var unknown *ltx.FileInfo // the newest
	for _, f := range files {
		switch k := have[keyOf(f)]; {
		case k != nil && !isSameFile(k, f):
			return true, nil
		case k != nil:
			agrees = true
		case f.MinTXID <= v.txid && (unknown == nil || unknown.MaxTXID < f.MaxTXID): // else it may be our own next
			unknown = f
		}
	}
	if agrees || unknown == nil {
		return false, nil
	}
	timestamp, err := w.db.store.timestamp(ctx, unknown)
	if err == nil && timestamp <= v.timestamp {
		err = fmt.Errorf("%w: %s is missing, and nothing tells whether %s is of the same database", errWrongListing, v.last, keyOf(unknown))
	}
	return err == nil, err
}

// knownFiles returns all files that are known to be of our history, by name.
func (w *writer) knownFiles() map[fileKey]*ltx.FileInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fileSet(slices.Concat(w.known.others, w.known.files))
}

// forget forgets all files: the replica has another history now.
func (w *writer) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = known{}
}

// made notes a file that this process has made of others.
func (w *writer) made(info *ltx.FileInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known.others = append(slices.Clip(w.known.others), info)
}

// isSameFile compares what listings, or the answer to an upload, say of a file.
func isSameFile(a, b *ltx.FileInfo) bool {
	return a.Size == b.Size && (a.CreatedAt.IsZero() || b.CreatedAt.IsZero() || a.CreatedAt.Equal(b.CreatedAt))
}

// fileSet returns files by name.
func fileSet(files []*ltx.FileInfo) map[fileKey]*ltx.FileInfo {
	set := make(map[fileKey]*ltx.FileInfo, len(files))
	for _, f := range files {
		set[keyOf(f)] = f
	}
	return set
}
