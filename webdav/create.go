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
	resp, err := s.send(ctx, http.MethodOptions, folderName(s.place), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("OPTIONS: %w", err)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("OPTIONS: %w", s.refusal(resp))
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, clientio.MaxErrorText)) // so that the connection can be used again
	_ = resp.Body.Close()                                                        // the header says what matters
	if resp.StatusCode >= http.StatusInternalServerError && resp.StatusCode != http.StatusNotImplemented {
		return nil, fmt.Errorf("OPTIONS: %w", clientio.StatusError(resp.StatusCode, http.StatusText(resp.StatusCode)))
	}
	w = creationAt(resp.Header)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.creation = w
	return w, nil
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
