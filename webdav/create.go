package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/ltxvfs/litestream/internal/clientio"
)

// way is how a client stores content under a name.
type way func(s *session, ctx context.Context, name string, content body) error

// creation returns the way to create a file that must not exist yet. The first call
// asks the server what it is.
func (s *session) creation(ctx context.Context) (way, error) {
	s.mu.Lock()
	w := s.mu.creation
	s.mu.Unlock()
	if w != nil {
		return w, nil
	}
	header, err := s.options(ctx)
	if errors.Is(err, clientio.ErrAbsent) {
		// Some servers answer so as long as there is no folder at the place.
		if err := s.makeFolder(ctx, s.place); err != nil {
			return nil, fmt.Errorf("make the folder: %w", err)
		}
		header, err = s.options(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("OPTIONS: %w", err)
	}
	w = creationAt(header)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.creation = w
	return w, nil
}

// errNoOptions is the error of a server, or of what is in front of it, that does not
// tell what it can do.
var errNoOptions = fmt.Errorf("answer has no header DAV, so that it is not known whether locks of the server keep other writers away: "+
	"let OPTIONS through to the WebDAV server: %w", errors.ErrUnsupported)

// options asks what the server can do, and returns the header of its answer. Each
// WebDAV server says so in the header DAV. An answer without it comes from something
// else, such as a proxy that answers to OPTIONS itself or that has no server just then.
// It must not decide for the whole session how files are created. If the answer is that
// nothing has the name, the error is clientio.ErrAbsent.
func (s *session) options(ctx context.Context) (http.Header, error) {
	resp, err := s.send(ctx, http.MethodOptions, folderName(s.place), nil, nil)
	if err != nil {
		return nil, err
	}
	status, known := resp.StatusCode, len(resp.Header.Values("DAV")) > 0
	// A proxy and a server that does not know the method answer in these ways each time.
	lasting := status/100 == 2 || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status >= 500 && !lasting:
		return nil, s.refusal(resp)
	case !known && !lasting:
		return nil, fmt.Errorf("%w: something else than the WebDAV server may have answered", s.refusal(resp))
	case !known && status/100 == 2 && resp.ContentLength != 0 && clientio.IsPage(resp.Header):
		return nil, clientio.RefuseBody(resp, "answer is a page and has no header DAV")
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, clientio.MaxErrorText)) // so that the connection can be used again
	_ = resp.Body.Close()                                                        // the header says what matters
	if !known {
		return nil, errNoOptions
	}
	return resp.Header, nil
}

// fileSystem is what Apache says of itself when mod_dav_fs is loaded. Other servers
// have taken that over.
const fileSystem = "<http://apache.org/dav/propset/fs/1>"

// creationAt returns the way to create files at a server with this header. Many servers
// look for a name and move a file there in two steps, so that a lock or a claim has to
// keep other clients away.
//
// Locks of Apache's mod_dav are not exclusive when many clients ask at once: of 16
// creators of one file, two succeeded in one of 25 runs, with version 2.4.71. But
// mod_dav_fs, which keeps files in a file system, renames folders by a single call of
// the system.
func creationAt(header http.Header) way {
	var extensions []string // names of what the server can do besides the standard
	for token := range strings.SplitSeq(strings.Join(header.Values("DAV"), ","), ",") {
		if token = strings.TrimSpace(token); strings.HasPrefix(token, "<") {
			extensions = append(extensions, token)
		}
	}
	isApache, hasFiles := strings.HasPrefix(header.Get("Server"), "Apache"), slices.Contains(extensions, fileSystem)
	switch {
	case isApache && hasFiles && len(extensions) == 1:
		return (*session).claim
	case isApache, hasFiles:
		return refuse
	default:
		return (*session).createLocked
	}
}

// errNotExclusive is the error of a server whose locks keep nobody away.
var errNotExclusive = fmt.Errorf("server grants one lock to several clients at once, so that two writers could create one file: %w", errors.ErrUnsupported)

// refuse creates nothing.
func refuse(*session, context.Context, string, body) error { return errNotExclusive }
