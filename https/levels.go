package https

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// level returns the name of the folder of a level.
func (fo *folders) level(level int) string {
	return strings.TrimPrefix(fo.layout.Prefix(level), "/")
}

// above returns the name of the folder that has those of the levels. It is empty if that
// is the folder of the replica.
func (fo *folders) above() string {
	dir, _ := path.Split(strings.TrimSuffix(fo.level(0), "/"))
	return dir
}

// list implements lister. It asks for the folders of all levels, and for the folder that
// has them, at the same time.
func (fo *folders) list(ctx context.Context, _ time.Time) ([]listed, error) {
	var levels [clientio.MaxLevel + 1]answer
	var above answer
	err := clientio.Each(ctx, len(levels)+1, len(levels)+1, func(ctx context.Context, i int) (err error) {
		if i < len(levels) {
			levels[i], err = fo.ask(ctx, fo.level(i))
			return err
		}
		if above, err = fo.ask(ctx, fo.above()); errors.Is(err, fs.ErrPermission) {
			above, err = answer{absent: err}, nil // the levels may be listed nevertheless
		}
		return err
	})
	if err == nil {
		err = fo.check(ctx, levels[:], above)
	}
	if err != nil {
		return nil, err
	}
	var files []listed
	for level, a := range levels {
		for _, e := range a.entries {
			minTXID, maxTXID, ok := clientio.ParseName(e.name)
			if !ok || e.dir {
				continue
			}
			f := clientio.NewFile(level, minTXID, maxTXID)
			files = append(files, listed{File: f, name: nameOf(fo.layout, f), size: e.size, createdAt: e.modified})
		}
	}
	same, err := fo.s.checkNewest(ctx, fo, files)
	if err != nil {
		return nil, err
	}
	if !same {
		fo.forget()
	}
	if files, err = fo.complete(ctx, files); err != nil {
		return nil, err
	}
	sortFiles(files)
	fo.s.readNewest(ctx, fo, files)
	return files, nil
}

// answer is what a server answers to a request for a folder.
type answer struct {
	entries []entry
	absent  error // why it is no listing; nil: it is one
}

// ask asks for a folder.
func (fo *folders) ask(ctx context.Context, name string) (answer, error) {
	entries, err := fo.s.folder(ctx, name)
	if errors.Is(err, clientio.ErrAbsent) {
		return answer{absent: err}, nil
	}
	return answer{entries: entries}, looking("folder "+cmp.Or(name, "of the replica"), err)
}

// lists reports whether the answer is a listing that has a folder. The name of the
// folder has a slash at its end, and may have those of the folders above.
func (a answer) lists(folder string) bool {
	return slices.ContainsFunc(a.entries, func(e entry) bool { return e.dir && e.name == path.Base(folder) })
}

// check checks that the levels without a listing do not exist. Something else than the
// server may have answered for them, such as a page to log in, or a file like index.html
// may hide the listing. Their files may be the newest ones, so without this a replica
// would silently be in an older state.
//
// A listing of the folder above says which levels there are. Some servers do not have
// it. There, status 404 is believed, and a page is not. If there is neither that listing
// nor one of a level, the one of the replica's folder has to show that the replica has no
// files yet.
func (fo *folders) check(ctx context.Context, levels []answer, above answer) error {
	found := slices.ContainsFunc(levels, func(a answer) bool { return a.absent == nil })
	if name := fo.above(); !found && errors.Is(above.absent, clientio.ErrAbsent) {
		if name == "" {
			return hidden(name, above.absent)
		}
		top, err := fo.ask(ctx, "")
		switch {
		case err != nil:
			return err
		case top.absent != nil:
			return hidden("", top.absent)
		case !top.lists(name):
			return nil
		}
		// The folder may have been made between the answers.
		if above, err = fo.ask(ctx, name); err != nil {
			return err
		} else if above.absent != nil {
			return hidden(name, above.absent)
		}
	}
	for i := range levels {
		name, a := fo.level(i), &levels[i]
		isThere := above.lists(name)
		if above.absent != nil {
			isThere = errors.Is(a.absent, errNoListing)
		}
		if a.absent == nil || !isThere {
			continue
		}
		// The folder may have been made between the answers, so this asks again.
		var err error
		if *a, err = fo.ask(ctx, name); err != nil {
			return err
		} else if a.absent != nil {
			return hidden(name, a.absent)
		}
	}
	return nil
}

// hidden returns the error for a folder without a listing that may have files.
func hidden(name string, why error) error {
	return fmt.Errorf("folder %s may have files, but there is no listing of it (%v): something else than the server may have answered, "+
		"or a file such as index.html hides the listing; an index.json, which ltxvfs publish writes, does without listings", cmp.Or(name, "of the replica"), why)
}
