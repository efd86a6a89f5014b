package https

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// These are the layouts that a replica can have, with names relative to its folder.
var (
	plainLayout = clientio.NewLayout("")    // of folders and most stores
	hexLayout   = clientio.NewHexLayout("") // of S3; names begin with a slash
)

// nameOf returns the name of a file in a layout.
func nameOf(layout clientio.Layout, f clientio.File) string {
	return strings.TrimPrefix(layout.Key(f.Level, f.MinTXID, f.MaxTXID), "/")
}

// parseName returns the file that has a name in one of the layouts.
func parseName(name string) (f clientio.File, layout clientio.Layout, ok bool) {
	if level, minTXID, maxTXID, ok := plainLayout.Parse(name); ok {
		return clientio.NewFile(level, minTXID, maxTXID), plainLayout, true
	}
	level, minTXID, maxTXID, ok := hexLayout.Parse("/" + name)
	return clientio.NewFile(level, minTXID, maxTXID), hexLayout, ok
}

// listed is a file as a listing shows it.
type listed struct {
	clientio.File
	name      string // relative to the folder of the replica
	size      int64
	createdAt time.Time

	// isDoubtful is set if the listing cannot tell whether the file is the one of the
	// listing before, unless a read has seen it.
	isDoubtful bool
}

// sortFiles sorts files by level and TXIDs.
func sortFiles(files []listed) {
	slices.SortFunc(files, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.MinTXID, b.MinTXID), cmp.Compare(a.MaxTXID, b.MaxTXID))
	})
}

// lister is a way to list the files behind a web server.
type lister interface {
	// list returns all files, in order of level and TXIDs, as they were at a moment
	// after since.
	list(ctx context.Context, since time.Time) ([]listed, error)

	// find returns the address of a file. If the lister knows that there is no such
	// file, the error is fs.ErrNotExist.
	find(ctx context.Context, f clientio.File) (*url.URL, error)
}

// LTXFiles implements replica.Client. It lists all levels, unless index.json has not
// changed. CreatedAt is what the listing tells, with or without useMetadata: in
// index.json the timestamp of the LTX header, elsewhere the time of the last change.
func (c *ReplicaClient) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.List(ctx, level, seek, useMetadata, c.connect)
}

// AllLTXFiles implements replica.AllLTXFilesLister like LTXFiles.
func (c *ReplicaClient) AllLTXFiles(ctx context.Context, useMetadata bool) (ltx.FileIterator, error) {
	return clientio.ListAll(ctx, useMetadata, c.connect)
}

// Layout implements clientio.Lister. Whatever layout the files have, listings show
// them in this one.
func (*session) Layout() clientio.Layout { return plainLayout }

// Pager implements clientio.Lister. There is one page.
func (s *session) Pager(prefix, _ string, _ bool) clientio.Pager {
	return func(ctx context.Context) ([]clientio.Object, bool, error) {
		since := time.Now()
		l, err := s.lister(ctx)
		if err != nil {
			return nil, false, err
		}
		files, err := l.list(ctx, since)
		if err != nil {
			return nil, false, err
		}
		known := make(map[clientio.File]bool, len(files))
		var page []clientio.Object
		for _, f := range files {
			known[f.File] = true
			if key := nameOf(plainLayout, f.File); strings.HasPrefix(key, prefix) {
				page = append(page, clientio.Object{Key: key, Size: f.size, CreatedAt: f.createdAt, Version: s.pins.listed(f)})
			}
		}
		s.pins.keep(func(f clientio.File) bool { return known[f] })
		return page, false, nil
	}
}

// lister returns how files are listed. The first call finds out.
func (s *session) lister(ctx context.Context) (lister, error) {
	s.mu.Lock()
	l := s.mu.lister
	s.mu.Unlock()
	if l != nil {
		return l, nil
	}
	return s.discover.Do(ctx, func(ctx context.Context) (lister, error) {
		l, err := s.findLister(ctx)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.mu.lister = l
		s.mu.Unlock()
		return l, nil
	})
}

// sqliteMagic is what a SQLite database begins with.
const sqliteMagic = "SQLite format 3\x00"

// findLister looks for an index and for listings.
func (s *session) findLister(ctx context.Context) (lister, error) {
	var refused error // that of the first look that was not allowed
	for _, look := range []func(context.Context, *session) (lister, error){findIndex, findFolders, findBucket} {
		l, err := look(ctx, s)
		switch {
		case err == nil:
			return l, nil
		case errors.Is(err, fs.ErrPermission):
			if refused == nil {
				refused = err // S3 refuses what does not exist
			}
		case !errors.Is(err, clientio.ErrAbsent):
			return nil, err
		}
	}
	if refused != nil {
		return nil, refused
	}
	if head, err := s.Head(ctx); err != nil {
		return nil, err
	} else if string(head) == sqliteMagic {
		return nil, clientio.Permanent(errors.New("there is a SQLite database at the place of the replica: a replica is a folder of LTX files, which ltxvfs import makes"))
	}
	return nil, clientio.Permanent(errors.New("web server has no index.json at the place of the replica and no listing of its folders: write one with ltxvfs publish"))
}

// looking adds what was looked for to an error.
func looking(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
