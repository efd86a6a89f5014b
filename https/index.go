package https

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
	"github.com/ltxvfs/litestream/internal/webindex"
)

// index lists the files that index.json names.
type index struct {
	s      *session
	newest atomic.Pointer[indexed]
}

// indexed is an index.json that was read. It does not change.
type indexed struct {
	asked  time.Time   // before the request
	header http.Header // of the answer
	files  []listed
	byFile map[clientio.File]string // names of the files
}

// findIndex looks for index.json.
func findIndex(ctx context.Context, s *session) (lister, error) {
	x := &index{s: s}
	if _, err := x.refresh(ctx); err != nil {
		return nil, err
	}
	return x, nil
}

// refresh reads index.json, unless it has not changed.
func (x *index) refresh(ctx context.Context) (*indexed, error) {
	before, asked := x.newest.Load(), time.Now()
	var header http.Header
	if before != nil {
		header = before.header
	}
	doc, err := x.s.get(ctx, x.s.url(webindex.Name), header)
	switch {
	case err != nil && before != nil && errors.Is(err, errAbsent):
		return nil, looking(webindex.Name, errors.New("does not exist any more"))
	case err != nil:
		return nil, looking(webindex.Name, err)
	case doc == nil:
		return before, nil
	}
	next, err := parseIndex(doc)
	if err != nil {
		// A file that is being replaced may be a mixture for a moment. A page
		// where nothing else was seen yet is the answer to every address.
		if before == nil && clientio.IsPage(doc.header) {
			return nil, looking(webindex.Name, errAbsent)
		}
		return nil, looking(webindex.Name, err)
	}
	next.asked = asked
	x.newest.Store(next)
	return next, nil
}

// parseIndex parses index.json.
func parseIndex(doc *document) (*indexed, error) {
	decoded, err := webindex.Decode(doc.body)
	if err != nil {
		return nil, err
	}
	next := &indexed{header: doc.header, byFile: make(map[clientio.File]string, len(decoded.Files))}
	for _, file := range decoded.Files {
		f, _, ok := parseName(file.Name)
		if _, twice := next.byFile[f]; !ok || twice {
			return nil, fmt.Errorf("%.80q is no name of an LTX file, or is there twice", file.Name)
		}
		next.byFile[f] = file.Name
		next.files = append(next.files, listed{File: f, name: file.Name, size: file.Size, createdAt: file.Time.UTC()})
	}
	sortFiles(next.files)
	return next, nil
}

// list implements lister.
func (x *index) list(ctx context.Context, since time.Time) ([]listed, error) {
	if newest := x.newest.Load(); newest.asked.After(since) {
		return newest.files, nil // this call has found the index
	}
	newest, err := x.refresh(ctx)
	if err != nil {
		return nil, err
	}
	return newest.files, nil
}

// find implements lister. A file that the newest known index does not name may be
// new, so the index is asked for again.
func (x *index) find(ctx context.Context, f clientio.File) (*url.URL, error) {
	name, ok := x.newest.Load().byFile[f]
	if !ok {
		newest, err := x.refresh(ctx)
		if err != nil {
			return nil, err
		}
		if name, ok = newest.byFile[f]; !ok {
			return nil, fs.ErrNotExist
		}
	}
	return x.s.url(name), nil
}
