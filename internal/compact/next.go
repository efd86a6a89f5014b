package compact

import (
	"errors"
	"fmt"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/view"
)

// ErrLevelGap means that files of a level cannot be merged, because files before
// them are missing.
var ErrLevelGap = errors.New("files are missing")

// Lister lists the files of a replica, for Next.
type Lister interface {
	// Below lists all files of the level below.
	Below() ([]*ltx.FileInfo, error)

	// All lists the files of all levels.
	All() ([]*ltx.FileInfo, error)
}

// Next returns the files of the level below that are merged into a level next, in
// order. It returns none if nothing is left. Last is the newest transaction of the
// level, 0 if it has no file. Limit is the last transaction that may be merged. The
// given files are those of the level below that may hold transactions after last.
//
// If the level below lacks the transactions after last, Next returns the files
// after the gap, provided that other files give the state at limit, such as a
// snapshot that fills the hole. Otherwise the error wraps ErrLevelGap. Next lists
// more files only if there is a gap.
func Next(level int, last, limit ltx.TXID, files []*ltx.FileInfo, more Lister) ([]*ltx.FileInfo, error) {
	if len(files) == 0 {
		return nil, nil
	}
	if last == 0 {
		last = files[0].MinTXID - 1
	}
	if inputs, _ := view.Extend(last, limit, files); len(inputs) > 0 {
		return inputs, nil
	}
	next := ltx.TXID(0)
	for _, f := range files {
		if f.MinTXID > last+1 && f.MaxTXID <= limit && (next == 0 || f.MinTXID < next) {
			next = f.MinTXID
		}
	}
	if next == 0 {
		return nil, nil // no file is left to be merged
	}
	if level > 1 {
		// Files of several writers may overlap and begin anywhere.
		below, err := more.Below()
		if err != nil {
			return nil, err
		}
		if inputs, _ := view.Extend(last, limit, below); len(inputs) > 0 {
			return inputs, nil
		}
	}
	all, err := more.All()
	if err != nil {
		return nil, err
	}
	if _, end := view.Extend(0, limit, all); end != limit {
		return nil, fmt.Errorf("%w: level %d has no file with transactions %s to %s", ErrLevelGap, level-1, last+1, next-1)
	}
	inputs, _ := view.Extend(next-1, limit, files)
	return inputs, nil
}
