package https

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// heads is the number of files whose sizes are asked for at the same time.
const heads = 32

// folders lists files by the pages that a web server makes of its folders.
type folders struct {
	s      *session
	layout clientio.Layout

	mu struct {
		sync.Mutex // held for no I/O
		attributes map[clientio.File]attributes
	}
}

// attributes are what the server tells about a file, and not about a folder.
type attributes struct {
	size     int64
	modified time.Time
}

// findFolders looks for listings of folders.
func findFolders(ctx context.Context, s *session) (lister, error) {
	levels, err := s.folder(ctx, "ltx/")
	if err == nil {
		for _, e := range levels {
			if e.dir && len(e.name) == 1 {
				return newFolders(s, plainLayout), nil
			}
		}
	} else if !errors.Is(err, clientio.ErrAbsent) && !errors.Is(err, fs.ErrPermission) {
		return nil, looking("folder ltx", err)
	}
	top, topErr := s.folder(ctx, "")
	if topErr != nil {
		if err == nil {
			return newFolders(s, plainLayout), nil // an empty folder ltx
		}
		return nil, looking("folder of the replica", topErr)
	}
	for _, e := range top {
		if e.dir && strings.HasPrefix(e.name, "000") && len(e.name) == 4 {
			return newFolders(s, hexLayout), nil
		}
	}
	return newFolders(s, plainLayout), nil
}

func newFolders(s *session, layout clientio.Layout) *folders {
	f := &folders{s: s, layout: layout}
	f.mu.attributes = map[clientio.File]attributes{}
	return f
}

// find implements lister. It does not know whether the file exists.
func (fo *folders) find(_ context.Context, f clientio.File) (*url.URL, error) {
	return fo.s.url(nameOf(fo.layout, f)), nil
}

// complete asks for the sizes that the listing did not tell. Files that are gone
// meanwhile are left out.
func (fo *folders) complete(ctx context.Context, files []listed) ([]listed, error) {
	err := clientio.Each(ctx, len(files), heads, func(ctx context.Context, i int) error {
		if files[i].size >= 0 {
			return nil
		}
		a, err := fo.attributes(ctx, files[i])
		switch {
		case errors.Is(err, clientio.ErrAbsent):
			return nil
		case err != nil:
			return looking(files[i].name, err)
		}
		files[i].size, files[i].createdAt = a.size, a.modified
		return nil
	})
	if err != nil {
		return nil, err
	}
	left := files[:0]
	known := make(map[clientio.File]bool, len(files))
	for _, f := range files {
		if f.size >= 0 {
			left = append(left, f)
			known[f.File] = true
		}
	}
	fo.mu.Lock()
	defer fo.mu.Unlock()
	for f := range fo.mu.attributes {
		if !known[f] {
			delete(fo.mu.attributes, f)
		}
	}
	return left, nil
}

// forget makes attributes ask again for all files.
func (fo *folders) forget() {
	fo.mu.Lock()
	defer fo.mu.Unlock()
	clear(fo.mu.attributes)
}

// attributes returns size and time of a file. It asks the server once for each
// version of the file that was seen, and again for a file that may be another one.
func (fo *folders) attributes(ctx context.Context, file listed) (attributes, error) {
	f := file.File
	fo.mu.Lock()
	a, known := fo.mu.attributes[f]
	fo.mu.Unlock()
	v := fo.s.pins.newest(f)
	if known && (v.number == 0 || v.size == a.size) && (v.isRead || !file.isDoubtful) {
		return a, nil
	}
	resp, err := fo.s.send(ctx, http.MethodHead, fo.s.url(nameOf(fo.layout, f)), nil)
	if err != nil {
		return attributes{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return attributes{}, refusal(resp)
	}
	_ = resp.Body.Close() // it is empty
	switch {
	case resp.ContentLength < 0:
		return attributes{}, clientio.Permanent(errors.New("server does not tell the size of files"))
	case clientio.IsPage(resp.Header):
		return attributes{}, errors.New("answer is a page and no file: another server may have answered")
	}
	a = attributes{size: resp.ContentLength}
	if t, err := http.ParseTime(resp.Header.Get("Last-Modified")); err == nil {
		a.modified = t.UTC()
	}
	fo.mu.Lock()
	fo.mu.attributes[f] = a
	fo.mu.Unlock()
	return a, nil
}

// entry is a name in a folder.
type entry struct {
	name     string
	dir      bool
	size     int64 // -1: not known
	modified time.Time
}

// errNoListing is the error of a folder whose answer is a page about something else. It
// is clientio.ErrAbsent, since some servers answer so for what does not exist.
var errNoListing error = noListing{}

type noListing struct{}

func (noListing) Error() string { return "the answer is another page" }

func (noListing) Is(target error) bool { return target == clientio.ErrAbsent }

// folder reads the listing of a folder below that of the replica. The name is empty
// or has a slash at its end.
func (s *session) folder(ctx context.Context, name string) ([]entry, error) {
	doc, err := s.get(ctx, s.url(name), nil)
	if err != nil {
		return nil, err
	}
	var entries []entry
	whole, ok := true, false
	if body := bytes.TrimSpace(doc.body); len(body) > 0 && body[0] == '[' {
		entries, ok = parseJSON(body)
	} else {
		entries, whole, ok = parseHTML(doc)
	}
	switch {
	case !ok:
		return nil, errNoListing
	case !whole:
		return nil, fmt.Errorf("listing is cut off: %w", io.ErrUnexpectedEOF)
	}
	return entries, nil
}

// parseJSON parses nginx's listings with autoindex_format json. It looks at each item as
// it comes: millions of empty ones would take many times the memory of their text.
func parseJSON(body []byte) (entries []entry, ok bool) {
	items := json.NewDecoder(bytes.NewReader(body))
	if begin, err := items.Token(); err != nil || begin != json.Delim('[') {
		return nil, false
	}
	for items.More() {
		var item struct {
			Name, Type, MTime string
			Size              *int64
		}
		if err := items.Decode(&item); err != nil || item.Name == "" || item.Type == "" {
			return nil, false
		}
		if !isName(item.Name) {
			continue
		}
		e := entry{name: item.Name, dir: item.Type == "directory", size: -1}
		if item.Size != nil && *item.Size >= 0 {
			e.size = *item.Size
		}
		if t, err := http.ParseTime(item.MTime); err == nil {
			e.modified = t.UTC()
		}
		entries = append(entries, e)
	}
	if _, err := items.Token(); err != nil { // cut off
		return nil, false
	}
	_, err := items.Token()
	return entries, err == io.EOF
}

var (
	link = regexp.MustCompile(`(?i)<a\s[^>]*?href\s*=\s*(?:"([^"]*)"|'([^']*)')[^>]*>`)

	// heading is in the listings of nginx, Apache, lighttpd, Caddy and Python, and at
	// the beginning of Go's.
	heading = regexp.MustCompile(`(?i)<(?:title|h1)[^>]*>\s*(?:index of|directory listing for)|<h1>\s*Folder Path|^<!doctype html>\s*<meta name="viewport"[^>]*>\s*<pre>|^<pre>`)

	// afterLink is what nginx puts behind the link to a file: time and size. It
	// writes sizes in bytes up to the last digit, or with a unit behind.
	afterLink = regexp.MustCompile(`^[^<]*</a>\s+(\d\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d)\s+(\d+)\s`)

	// endOfList is behind the last name of a listing, and nowhere between two names.
	endOfList = regexp.MustCompile(`(?i)</(?:pre|table|ul|ol|body|html)\s*>`)
)

// parseHTML parses the page that a web server makes of a folder. ok is false for
// other pages, and whole is false if the list of names has no end: an answer without a
// length may be cut off, which a proxy passes on as a whole answer.
func parseHTML(doc *document) (entries []entry, whole, ok bool) {
	ok = heading.Match(doc.body)
	behind := doc.body // what is behind the last name
	seen := map[string]bool{}
	for rest := doc.body; ; { // one after the other: millions of links take much memory
		m := link.FindSubmatchIndex(rest)
		if m == nil {
			break
		}
		at := m[2:4]
		if at[0] < 0 {
			at = m[4:6]
		}
		text := rest[at[0]:at[1]]
		rest = rest[m[1]:]
		name, dir := nameIn(doc.url, html.UnescapeString(string(text)))
		if name == "" {
			continue
		}
		behind = rest
		if seen[name] {
			continue
		}
		seen[name] = true
		e := entry{name: name, dir: dir, size: -1}
		if after := afterLink.FindSubmatch(rest[:min(400, len(rest))]); after != nil && !dir {
			size, err := strconv.ParseInt(string(after[2]), 10, 64)
			modified, terr := time.Parse("02-Jan-2006 15:04", string(after[1]))
			if err == nil && terr == nil {
				e.size, e.modified = size, modified
			}
		}
		if _, _, isFile := clientio.ParseName(name); isFile {
			ok = true
		}
		entries = append(entries, e)
	}
	return entries, endOfList.Match(behind), ok
}

// nameIn returns the name that a link on the page of a folder leads to, if that is
// directly below the folder.
func nameIn(folder *url.URL, href string) (name string, dir bool) {
	u, err := folder.Parse(href)
	if err != nil || u.RawQuery != "" || u.Host != folder.Host {
		return "", false
	}
	name, below := strings.CutPrefix(u.Path, folder.Path)
	name, dir = strings.CutSuffix(name, "/")
	if !below || !isName(name) {
		return "", false
	}
	return name, dir
}

// isName reports whether a text can be the name of something in a folder.
func isName(text string) bool {
	return text != "" && text != "." && text != ".." && !strings.Contains(text, "/")
}
