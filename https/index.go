package https

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	byFile map[clientio.File]listed
}

// findIndex looks for index.json.
func findIndex(ctx context.Context, s *session) (lister, error) {
	x := &index{s: s}
	if _, err := x.refresh(ctx); err != nil {
		return nil, err
	}
	return x, nil
}

// replacing is how long refresh waits before it reads again what it could not use. A
// server that sends the length of the old file with the content of the new one, as
// Apache does, or a program that copies index.json in place, is done by then.
var replacing = []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}

// refresh reads index.json, unless it has not changed.
func (x *index) refresh(ctx context.Context) (*indexed, error) {
	before := x.newest.Load()
	for try := 0; ; try++ {
		next, mixed, err := x.read(ctx, before)
		if !mixed || try == len(replacing) || !clientio.Pause(ctx, replacing[try]) {
			return next, err
		}
	}
}

// read reads index.json once. It returns before if that has not changed. The error is
// mixed if the answer was no whole index.json, but may be one a moment later.
func (x *index) read(ctx context.Context, before *indexed) (_ *indexed, mixed bool, err error) {
	asked := time.Now()
	var header http.Header
	if before != nil {
		header = before.header
	}
	doc, err := x.s.get(ctx, x.s.url(webindex.Name), header)
	switch {
	case err != nil && before != nil && errors.Is(err, clientio.ErrAbsent):
		return nil, false, looking(webindex.Name, errors.New("does not exist any more"))
	case err != nil:
		return nil, errors.Is(err, io.ErrUnexpectedEOF), looking(webindex.Name, err)
	case doc == nil:
		return before, false, nil
	}
	next, err := parseIndex(doc)
	if err != nil {
		// A page where nothing else was seen yet is the answer to every address.
		if before == nil && clientio.IsPage(doc.header) {
			return nil, false, looking(webindex.Name, clientio.ErrAbsent)
		}
		return nil, true, looking(webindex.Name, err)
	}
	next.asked = asked
	x.newest.Store(next)
	return next, false, nil
}

// parseIndex parses index.json.
func parseIndex(doc *document) (*indexed, error) {
	decoded, err := webindex.Decode(doc.body)
	if err != nil {
		return nil, err
	}
	next := &indexed{header: doc.header, byFile: make(map[clientio.File]listed, len(decoded.Files))}
	for _, file := range decoded.Files {
		f, _, ok := parseName(file.Name)
		if _, twice := next.byFile[f]; !ok || twice {
			return nil, fmt.Errorf("%.80q is no name of an LTX file, or is there twice", file.Name)
		}
		next.byFile[f] = listed{File: f, name: file.Name, size: file.Size, createdAt: file.Time.UTC()}
		next.files = append(next.files, next.byFile[f])
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
// new, so the index is asked for again. What the index says about the file is known
// before it is read, so that a listing with the same does not give a new version.
func (x *index) find(ctx context.Context, f clientio.File) (*url.URL, error) {
	file, ok := x.newest.Load().byFile[f]
	if !ok {
		newest, err := x.refresh(ctx)
		if err != nil {
			return nil, err
		}
		if file, ok = newest.byFile[f]; !ok {
			return nil, fs.ErrNotExist
		}
	}
	x.s.pins.named(file)
	return x.s.url(file.name), nil
}
